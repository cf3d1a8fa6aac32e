package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// epoch is one term in which this node leads: what only a leader does begins
// after everything before the term is applied, and ends with it.
type epoch struct {
	node      *Node
	term      uint64
	clock     clock
	publisher *nats.Publisher
	cancel    context.CancelFunc
	over      <-chan struct{} // closed when the term is over for this node
	done      chan struct{}   // closed when all that belonged to it has ended
}

const (
	drainTimeout  = nats.AckPatience + time.Second // to have what is committed reach everybody, on a clean stop
	leadRetry     = 200 * time.Millisecond
	valueHeadroom = 4 << 10 // what a message needs beside the value
)

// followLeadership begins an epoch when the node is elected and ends it when
// it is not the leader any more. Raft waits for nobody here: the channel has
// room, and nothing in the loop waits for Raft.
func (n *Node) followLeadership(ctx context.Context) {
	var current *epoch
	end := func() {
		if current != nil {
			current.cancel()
			<-current.done
			current = nil
		}
	}
	defer end()
	for {
		select {
		case leads := <-n.consensus.leaders:
			end()
			if leads {
				current = n.beginEpoch(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) beginEpoch(ctx context.Context) *epoch {
	ctx, cancel := context.WithCancel(ctx)
	e := &epoch{node: n, clock: clock{moved: make(chan struct{}, 1)}, cancel: cancel, over: ctx.Done(), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		defer cancel()
		for ctx.Err() == nil {
			if err := e.run(ctx); err != nil && ctx.Err() == nil {
				n.log.Error("cannot lead, trying again", "term", e.term, "error", err)
				pause(ctx, leadRetry)
			}
		}
	}()
	return e
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// begin waits until everything before the term is applied. It returns false if the election
// that this epoch is of may not be that of the term which it sees: two epochs of one term would
// number their beacons twice. Where this node has led, lost that, and leads again, the news of
// it is in leaders, unless followLeadership has heard it, which ends this epoch.
func (e *epoch) begin() (leads bool, err error) {
	r := e.node.consensus.raft
	e.term = r.CurrentTerm()
	if err := e.node.consensus.barrier(); err != nil {
		return false, fmt.Errorf("wait for earlier terms: %w", err)
	}
	return r.CurrentTerm() == e.term && len(e.node.consensus.leaders) == 0, nil
}

// run leads until ctx ends.
func (e *epoch) run(ctx context.Context) error {
	n := e.node
	leads, err := e.begin()
	if err != nil {
		return err
	}
	if !leads {
		<-ctx.Done() // soon
		return nil
	}
	e.clock.set(n.machine.Time())
	after, lost := e.resume()
	cluster, err := e.initCluster()
	if err != nil {
		return err
	}
	if takes := n.serviceConn.MaxPayload(); takes < int64(cluster.MaxValueBytes+valueHeadroom) {
		n.log.Warn("values may be longer than the broker takes, which nobody receives then; raise its max_payload",
			"max_payload", takes, "longest_value", cluster.MaxValueBytes)
	}
	if lost == nil {
		// From the first write on there is a record, so that a crash leads to
		// repeats, not to a reset.
		n.announced.note(announcement{Cluster: cluster.ID, Term: e.term, Revision: after})
		n.saveAnnounced()
	}
	// Before the publisher: this may fail and be tried again, and a second publisher
	// of one term would number its beacons from 1 again.
	service, err := nats.StartService(n.backend(e), nats.ServiceOptions{
		Conn:     n.serviceConn,
		Subjects: n.config.Subjects,
		Version:  n.config.Version,
		Metadata: map[string]string{"node": n.config.ID, "cluster": cluster.ID},
		Logger:   n.log,
	})
	if err != nil {
		return err
	}
	e.publisher, err = nats.NewPublisher(nats.PublisherOptions{
		Conn:     n.publisherConn,
		Ring:     n.ring,
		Subjects: n.config.Subjects,
		Cluster:  cluster.ID,
		Term:     e.term,
		Node:     n.config.ID,
		After:    after,
		Lost:     lost,
		Interest: n.broker.interest(),
		Audience: n.audience,
		Lives: func(node string) bool {
			_, agreed := n.consensus.acks.of(raft.ServerID(node), e.term)
			return agreed && n.consensus.acquainted.connected(node)
		},
		Safe: func(revision uint64) {
			n.announced.note(announcement{Cluster: cluster.ID, Term: e.term, Revision: revision})
		},
		Logger: n.log,
	})
	if err != nil {
		service.Stop()
		return err
	}
	n.publishing.Store(e.publisher)
	defer n.publishing.Store(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	publishing, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()
	wg.Go(func() { e.publisher.Run(publishing) }) // its only error is that it was stopped, or the connection, which ends the node
	wg.Go(func() { e.expire(ctx) })
	n.setEpoch(e)
	n.log.Info("leading", "term", e.term, "revision", n.machine.Revision())
	<-ctx.Done()
	n.setEpoch(nil)
	service.Stop()
	if n.closing() {
		e.drain(publishing)
	}
	return nil
}

// resume returns where publishing goes on: behind what is known to have reached
// everybody, or, if nothing is known of a state that is not new, behind all of
// it, with the whole as a loss. A record of another cluster, or of more than
// there is now that everything is applied, is not of this state.
func (e *epoch) resume() (after uint64, lost *nats.Range) {
	n := e.node
	revision := n.machine.Revision()
	cluster, _ := n.machine.Cluster()
	known, ok := n.announced.get()
	switch {
	case revision == 0:
		return 0, nil
	case ok && known.Cluster == cluster.ID && known.Revision <= revision:
		return known.Revision, nil
	}
	n.announced.forget()
	return revision, &nats.Range{From: 1, To: revision}
}

// drain waits until what is committed has reached everybody who is heard of, on a clean
// stop.
func (e *epoch) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	target := e.node.ring.Revision()
	if err := e.publisher.Drain(ctx, target); err != nil {
		e.node.log.Warn("stopped before everything had reached every node; the rest goes out again with the next leader",
			"confirmed", e.publisher.Confirmed(), "safe", e.publisher.Safe(), "revision", target)
	}
}

// initCluster returns the constants of the cluster; the first leader ever sets
// them.
func (e *epoch) initCluster() (fsm.Cluster, error) {
	n := e.node
	if cluster, ok := n.machine.Cluster(); ok {
		return cluster, nil
	}
	takes := min(int64(n.config.MaxPayload), n.serviceConn.MaxPayload())
	if takes <= valueHeadroom {
		return fsm.Cluster{}, fmt.Errorf("%w: it takes messages of %d bytes; give it a max_payload above %d, better 1048576", ErrSmallPayload, takes, valueHeadroom)
	}
	command := fsm.Command{Op: fsm.CommandInit, Cluster: fsm.Cluster{
		ID:            uuid.NewString(),
		MaxValueBytes: int(takes) - valueHeadroom,
	}}
	if _, err := n.apply(e, command).Wait(); err != nil {
		return fsm.Cluster{}, fmt.Errorf("set up the cluster: %w", err)
	}
	cluster, _ := n.machine.Cluster()
	return cluster, nil
}

// setEpoch tells everyone who waits that leading began, or ended with nil.
func (n *Node) setEpoch(e *epoch) {
	n.epochMu.Lock()
	defer n.epochMu.Unlock()
	n.epoch = e
	close(n.epochChanged)
	n.epochChanged = make(chan struct{})
}

func (n *Node) currentEpoch() (e *epoch, changed <-chan struct{}) {
	n.epochMu.Lock()
	defer n.epochMu.Unlock()
	return n.epoch, n.epochChanged
}
