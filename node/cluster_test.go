package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/nats"
)

// clusterOf starts nodes n1, n2, … of one cluster, whose brokers form routes,
// and waits until they agree on a leader. adjust may change a configuration.
func clusterOf(t *testing.T, size int, adjust ...func(*Config)) []*Node {
	t.Helper()
	var nodes []*Node
	eventually(t, "the cluster's ports are free", func() bool {
		nodes = startCluster(t, size, adjust...)
		return nodes != nil
	})
	for _, n := range nodes {
		waitReady(t, n)
	}
	eventually(t, "the nodes agree on a leader", func() bool {
		for _, n := range nodes {
			if n.Leader() == "" || n.Leader() != nodes[0].Leader() {
				return false
			}
		}
		return true
	})
	eventually(t, "the brokers have met", func() bool {
		for _, n := range nodes {
			if n.broker.server.NumRemotes() < size-1 {
				return false
			}
		}
		return true
	})
	return nodes
}

// startCluster returns nil if somebody took one of the ports that were free.
func startCluster(t *testing.T, size int, adjust ...func(*Config)) (nodes []*Node) {
	t.Helper()
	peers := make(map[string]string)
	var routes []string
	for i := range size {
		peers[fmt.Sprintf("n%d", i+1)] = freeport.Address(t)
		routes = append(routes, freeport.Address(t))
	}
	for i := range size {
		c := single(t)
		c.ID = fmt.Sprintf("n%d", i+1)
		c.Peers, c.Raft = peers, peers[c.ID]
		c.ElectionTimeout = 2 * time.Second // a busy test machine pauses for longer than the default
		c.Routes, c.JoinRoutes, c.ClusterSecret = routes[i], routes, "not a secret"
		for _, f := range adjust {
			f(&c)
		}
		n, err := Start(bounded(t), c)
		if errors.Is(err, ErrListen) {
			for _, n := range nodes {
				stop(t, n)
			}
			return nil
		}
		if err != nil {
			t.Fatalf("start %s: %v", c.ID, err)
		}
		t.Cleanup(func() { stop(t, n) })
		nodes = append(nodes, n)
	}
	return nodes
}

// split returns the leader and the others.
func split(t *testing.T, nodes []*Node) (leader *Node, others []*Node) {
	t.Helper()
	for _, n := range nodes {
		if n.ID() == n.Leader() {
			if leader != nil {
				t.Fatalf("both %s and %s lead", leader.ID(), n.ID())
			}
			leader = n
			continue
		}
		others = append(others, n)
	}
	if leader == nil {
		t.Fatal("nobody leads")
	}
	return leader, others
}

// TestCluster writes to the leader of three nodes: watchers on each of them and
// subscribers at each broker see every change, in order and once.
func TestCluster(t *testing.T) {
	t.Parallel()
	const puts = 300
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	var watchers []*fanout.Watcher
	var streams []*stream
	for _, n := range nodes {
		watchers = append(watchers, watch(t, n, ">", fanout.WithBuffer(puts)))
		streams = append(streams, subscribe(t, connect(t, n.NATSURL()), ">"))
	}
	meet(t, nodes, streams, watchers)
	revisions := make([]uint64, puts)
	for i := range revisions {
		revisions[i] = put(t, leader, fmt.Sprintf("key.%d", i%10), fmt.Sprint(i))
	}
	for i, n := range nodes {
		for j, revision := range revisions {
			if e := next(t, watchers[i]); e.Revision != revision || string(e.Value) != fmt.Sprint(j) {
				t.Fatalf("event %d of the watcher on %s is %+v; want revision %d", j, n.ID(), e, revision)
			}
		}
		events := streams[i].seen(revisions[puts-1])
		events = events[len(events)-puts:]
		for j, e := range events {
			if e.Revision != revisions[j] {
				t.Fatalf("event %d of the subscriber at %s is revision %d; want %d", j, n.ID(), e.Revision, revisions[j])
			}
		}
		streams[i].noResets()
	}
	for _, n := range others {
		if s := n.Status(); s.Leader != leader.ID() || s.Revision != leader.Revision() || s.Publish != nil || s.Cluster != leader.Status().Cluster {
			t.Errorf("status of %s is %+v; the leader is %s at revision %d", n.ID(), s, leader.ID(), leader.Revision())
		}
		_, err := n.Put(bounded(t), "k", nil)
		if !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), leader.ID()) {
			t.Errorf("put on %s: %v; want %v that names %s", n.ID(), err, ErrNotLeader, leader.ID())
		}
		if _, err := n.Get(bounded(t), "k"); !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), leader.ID()) {
			t.Errorf("get on %s: %v; want %v that names %s", n.ID(), err, ErrNotLeader, leader.ID())
		}
		eventually(t, "the followers know how far the leader has published", func() bool {
			a, _ := n.announced.get()
			return a.Revision == revisions[puts-1]
		})
	}
}

// meet returns when a change that is requested at any broker reaches the leader
// and every subscriber, so that interest has spread, and takes what the
// watchers saw of that.
func meet(t *testing.T, nodes []*Node, streams []*stream, watchers []*fanout.Watcher) {
	t.Helper()
	var last uint64
	for i, n := range nodes {
		conn := connect(t, n.NATSURL())
		eventually(t, "a request at "+n.ID()+" reaches the leader, and its event every subscriber", func() bool {
			reply, err := conn.RequestWithContext(bounded(t), "kv.put.meet", []byte(fmt.Sprint(i)))
			if err != nil {
				return false
			}
			revision, err := revisionOf(reply)
			if err != nil {
				return false
			}
			last = revision
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return !slices.ContainsFunc(streams, func(s *stream) bool { return !s.hears(ctx, revision) })
		})
	}
	for _, w := range watchers {
		for next(t, w).Revision != last {
		}
	}
}

// TestRequestsAtAnyBroker asks at every broker; the leader answers.
func TestRequestsAtAnyBroker(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	meet(t, nodes, nil, nil)
	var last uint64
	for range 3 {
		for _, n := range nodes {
			conn := connect(t, n.NATSURL())
			revision, err := revisionOf(request(t, conn, "kv.put.k", []byte(n.ID())))
			if err != nil || revision <= last {
				t.Fatalf("put at %s: revision %d after %d, %v", n.ID(), revision, last, err)
			}
			last = revision
			for _, other := range nodes {
				reply := request(t, connect(t, other.NATSURL()), "kv.get.k", nil)
				if at, err := revisionOf(reply); err != nil || at != revision || string(reply.Data) != n.ID() {
					t.Fatalf("get at %s: %q at %d, %v; want %q at %d", other.ID(), reply.Data, at, err, n.ID(), revision)
				}
			}
		}
	}
}

// TestLeaderGoes closes the leader while clients of the other brokers write:
// another one takes over, and who subscribes at the surviving brokers sees
// every acknowledged change, or hears that it may not have.
func TestLeaderGoes(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	var streams []*stream
	var watchers []*fanout.Watcher
	for _, n := range others {
		streams = append(streams, subscribe(t, connect(t, n.NATSURL()), ">"))
		watchers = append(watchers, watch(t, n, ">", fanout.WithBuffer(fanout.MaxBuffer)))
	}
	meet(t, nodes, streams, watchers)

	const writers, before, after = 4, 50, 50 // acknowledged writes of each
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		acked    = make(map[uint64]string)
		warm     = make(chan struct{}, writers)
		gone     = make(chan struct{})
		deadline = bounded(t)
	)
	for i := range writers {
		conn := connect(t, others[i%len(others)].NATSURL())
		wg.Go(func() {
			done, left := 0, after
			for j := 0; left > 0; j++ {
				key, value := fmt.Sprintf("w%d.%d", i, j), fmt.Sprint(j)
				revision, err := tryPut(deadline, conn, key, value)
				if deadline.Err() != nil {
					t.Errorf("writer %d has %d writes left; the last error is %v", i, left, err)
					return
				}
				if err != nil {
					continue // no leader just now, or the outcome is unknown
				}
				mu.Lock()
				acked[revision] = key + "=" + value
				mu.Unlock()
				if done++; done == before {
					warm <- struct{}{}
				}
				select {
				case <-gone:
					left--
				default:
				}
			}
		})
	}
	for range writers {
		select {
		case <-warm:
		case <-deadline.Done():
			t.Fatal("nobody can write")
		}
	}
	stop(t, leader)
	close(gone)
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, n := range others {
		waitReady(t, n)
	}
	next, _ := split(t, others)
	last := put(t, next, "last", "x")
	acked[last] = "last=x"

	for i, s := range streams {
		s.until("the last change", func(s *stream) bool {
			return slices.ContainsFunc(s.events, func(e *fanout.Event) bool { return e.Revision == last })
		})
		s.mu.Lock()
		seen := make(map[uint64]string)
		for _, e := range s.events {
			seen[e.Revision] = e.Key + "=" + string(e.Value)
		}
		resets, received := slices.Clone(s.resets), len(s.events)
		s.mu.Unlock()
		missed := 0
		for revision, change := range acked {
			announced := slices.ContainsFunc(resets, func(r nats.Reset) bool { return r.From <= revision && revision <= r.To })
			if seen[revision] != change && !announced {
				missed++
			}
		}
		if missed > 0 {
			t.Errorf("the subscriber at %s did not see %d of %d acknowledged changes; resets: %+v", others[i].ID(), missed, len(acked), resets)
		}
		t.Logf("%s: %d acknowledged, %d events, resets %+v", others[i].ID(), len(acked), received, resets)
	}
	for i, w := range watchers {
		inProcess(t, others[i].ID(), w, acked, last)
	}
	for revision, change := range acked {
		key, value, _ := strings.Cut(change, "=")
		wantValue(t, next, key, value, revision)
	}
}

// inProcess holds that a watcher received every acknowledged change, once and
// in order.
func inProcess(t *testing.T, who string, w *fanout.Watcher, acked map[uint64]string, last uint64) {
	t.Helper()
	seen := make(map[uint64]string)
	for before := uint64(0); before != last; {
		e := next(t, w)
		if e.Revision <= before || e.Control() {
			t.Fatalf("the watcher on %s received %v of revision %d after %d", who, e.Op, e.Revision, before)
		}
		before, seen[e.Revision] = e.Revision, e.Key+"="+string(e.Value)
	}
	for revision, change := range acked {
		if seen[revision] != change {
			t.Errorf("the watcher on %s received %q at revision %d; %q was acknowledged", who, seen[revision], revision, change)
		}
	}
}

// tryPut is one attempt that does not wait for a leader that is gone.
func tryPut(ctx context.Context, conn *natsgo.Conn, key, value string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	reply, err := conn.RequestWithContext(ctx, "kv.put."+key, []byte(value))
	if err != nil {
		return 0, err
	}
	return revisionOf(reply)
}

// TestMajorityGoes leaves a leader alone: writes fail instead of hanging, and
// it can be closed.
func TestMajorityGoes(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	revision := put(t, leader, "k", "v")
	for _, n := range others {
		stop(t, n)
	}
	results := make(chan error, 2)
	go func() {
		_, err := leader.Put(context.Background(), "k", []byte("lost?"))
		results <- err
	}()
	err := within(t, "a put without a majority", func() error { return <-results })
	if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotLeader) {
		t.Fatalf("put without a majority: %v; want %v or %v", err, ErrUnknownOutcome, ErrNotLeader)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if e, err := leader.Get(ctx, "k"); err == nil {
		t.Fatalf("get without a majority: %+v; revision %d could be old", e, revision)
	}
	stop(t, leader)
}
