package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

const leaderPoll = 20 * time.Millisecond // to look who leads, while nobody does

// Put sets key to value and returns the revision of the change. It blocks until
// the change is on a majority's disks and applied, and while there is no
// leader. On a node that does not lead it fails with [ErrNotLeader]. After
// [ErrUnknownOutcome] the change may have been made; after any other error it
// was not; one may be [ErrRestoring], which passes, or the cause of ctx, if that had
// ended before the change was begun. The node keeps value; do not change it.
func (n *Node) Put(ctx context.Context, key string, value []byte, opts ...WriteOption) (revision uint64, err error) {
	return n.write(ctx, OpPut(key, value, opts...).command)
}

// Delete removes key and returns the revision of the change, or fails with
// [fsm.ErrNotFound]. Otherwise it is like [Node.Put].
func (n *Node) Delete(ctx context.Context, key string, opts ...WriteOption) (revision uint64, err error) {
	return n.write(ctx, OpDelete(key, opts...).command)
}

// CompareAndSet sets key to value if the key is at this revision, 0 meaning that it
// must not exist: it is [Node.Put] with [IfRevision].
func (n *Node) CompareAndSet(ctx context.Context, key string, at uint64, value []byte, opts ...WriteOption) (revision uint64, err error) {
	return n.Put(ctx, key, value, append([]WriteOption{IfRevision(at)}, opts...)...)
}

// Op is a put or delete in a batch.
type Op struct{ command fsm.Command }

// OpPut sets key to value.
func OpPut(key string, value []byte, opts ...WriteOption) Op {
	return Op{with(fsm.Command{Op: fsm.CommandPut, Key: key, Value: value}, opts)}
}

// OpDelete removes key, which must exist.
func OpDelete(key string, opts ...WriteOption) Op {
	return Op{with(fsm.Command{Op: fsm.CommandDelete, Key: key}, opts)}
}

// Batch carries out all operations at one revision, which it returns, or none. There
// may be 1 to [fsm.MaxBatch], each of another key, and their values together no
// longer than one may be. Conditions are of the state before the batch; an error
// names the key that it is about. A [RequestID] is an option of the batch, the others
// are options of an operation. Otherwise it is like [Node.Put].
func (n *Node) Batch(ctx context.Context, ops []Op, opts ...WriteOption) (revision uint64, err error) {
	c := fsm.Command{Op: fsm.CommandBatch, Batch: make([]fsm.Command, len(ops))}
	for i, op := range ops {
		c.Batch[i] = op.command
	}
	return n.write(ctx, with(c, opts))
}

func (n *Node) write(ctx context.Context, c fsm.Command) (uint64, error) {
	e, err := n.lead(ctx)
	if err != nil {
		return 0, err
	}
	if err := n.checkCommand(c); err != nil {
		return 0, err
	}
	if ctx.Err() != nil { // whoever asked does not want it any more
		return 0, fmt.Errorf("node: not begun: %w", context.Cause(ctx))
	}
	if err := n.stayOpen(); err != nil {
		return 0, err
	}
	p := n.apply(e, c)
	if ctx.Done() == nil {
		defer n.waits.Done()
		return p.Wait()
	}
	// On a goroutine of its own, because a Raft future cannot be given up.
	done := make(chan outcome, 1)
	go func() {
		defer n.waits.Done()
		revision, err := p.Wait()
		done <- outcome{revision, err}
	}()
	select {
	case o := <-done:
		return o.revision, o.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

type outcome struct {
	revision uint64
	err      error
}

// stayOpen keeps Close from ending Raft, which would not answer any more, until
// n.waits.Done. It fails with [ErrClosed] if the node closes.
func (n *Node) stayOpen() error {
	n.closeMu.RLock()
	defer n.closeMu.RUnlock()
	if n.closing() {
		return ErrClosed
	}
	n.waits.Add(1)
	return nil
}

// lead returns the epoch in which this node leads. While there is no leader, or
// this node is about to lead, it waits for as long as ctx allows.
func (n *Node) lead(ctx context.Context) (*epoch, error) {
	for {
		if n.closing() {
			return nil, ErrClosed
		}
		if n.removed.Load() {
			return nil, ErrRemoved
		}
		if err := n.Err(); err != nil {
			return nil, err
		}
		e, changed := n.currentEpoch()
		if e != nil {
			return e, nil
		}
		if id := n.Leader(); id != "" && id != n.config.ID {
			return nil, fmt.Errorf("%w: %s; ask it", ErrNotLeader, id)
		}
		select {
		case <-changed:
		case <-n.Failed():
		case <-time.After(leaderPoll):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNoLeader, context.Cause(ctx))
		}
	}
}

// checkCommand refuses what the state machine would refuse, before it costs a
// log entry.
func (n *Node) checkCommand(c fsm.Command) error {
	cluster, ok := n.machine.Cluster()
	if !ok {
		cluster.MaxValueBytes = fsm.MaxValueLimit
	}
	return c.Check(cluster)
}

// apply hands a command to Raft, with a stamp of the epoch's if it needs one. The
// order of the calls is the order in the log.
func (n *Node) apply(e *epoch, c fsm.Command) pending {
	if !n.gate.enter() {
		return pending{err: ErrRestoring}
	}
	defer n.gate.leave()
	if err := n.Err(); err != nil { // Raft may not have ended yet
		return pending{err: err}
	}
	if c.NeedsStamp() {
		c.Stamp = fsm.Stamp{Term: e.term, Time: e.clock.now()}
	}
	timeout, ok := n.consensus.calls.enter()
	if !ok {
		return pending{err: n.whyEnded()}
	}
	return pending{future: n.consensus.raft.Apply(c.Append(nil), timeout), calls: &n.consensus.calls}
}

// whyEnded returns why Raft has ended, or is about to.
func (n *Node) whyEnded() error {
	if err := n.Err(); err != nil {
		return err
	}
	if n.removed.Load() {
		return ErrRemoved
	}
	return ErrClosed
}

// pending is a command under way.
type pending struct {
	future raft.ApplyFuture
	calls  *underWay
	err    error // why it was not proposed
}

// Wait implements [nats.Pending]. It is called once.
func (p pending) Wait() (revision uint64, err error) {
	if p.err != nil {
		return 0, p.err
	}
	defer p.calls.leave()
	if err := p.future.Error(); err != nil {
		return 0, raftError(err)
	}
	r := p.future.Response().(fsm.Result)
	if errors.Is(r.Err, fsm.ErrStaleStamp) {
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, r.Err)
	}
	return r.Revision, r.Err
}

// backend is the key-value service's view of the node, for one epoch.
type backend struct {
	lister
	node  *Node
	epoch *epoch
}

func (n *Node) backend(e *epoch) backend { return backend{lister{n.machine, e.clock.now}, n, e} }

func (b backend) Write(o nats.Operation, requestID string) nats.Pending {
	c := commandOf(o)
	c.RequestID = requestID
	return b.propose(c)
}

func (b backend) Batch(operations []nats.Operation, requestID string) nats.Pending {
	c := fsm.Command{Op: fsm.CommandBatch, RequestID: requestID, Batch: make([]fsm.Command, len(operations))}
	for i, o := range operations {
		c.Batch[i] = commandOf(o)
	}
	return b.propose(c)
}

func commandOf(o nats.Operation) fsm.Command {
	c := fsm.Command{Op: fsm.CommandPut, Key: o.Key, Value: o.Value, IfRevision: o.IfRevision, TTL: o.TTL}
	if o.Delete {
		c.Op = fsm.CommandDelete
	}
	return c
}

func (b backend) propose(c fsm.Command) nats.Pending {
	if err := b.node.checkCommand(c); err != nil {
		return coded{pending{err: err}}
	}
	return coded{b.node.apply(b.epoch, c)}
}

func (b backend) Linearize(ctx context.Context) error {
	return serviceError(b.node.reads.wait(ctx))
}

// Get, Stands, List and Since come behind Linearize.
func (b backend) Get(key string) (nats.Entry, error) {
	e, err := settled(b.node, func() (fsm.Entry, error) { return b.node.machine.Get(key) })
	entry := nats.Entry{Value: e.Value, Revision: e.Revision}
	if e.Expires != 0 {
		entry.TTL = max(e.Expires-b.epoch.clock.now(), 1)
	}
	return entry, serviceError(err)
}

func (b backend) Stands() (uint64, error) {
	revision, err := settled(b.node, b.lister.Stands)
	return revision, serviceError(err)
}

func (b backend) List(filter fanout.Filter) (nats.Listing, error) {
	return b.settled(func() (nats.Listing, error) { return b.lister.List(filter) })
}

func (b backend) Since(filter fanout.Filter, revision uint64) (nats.Listing, error) {
	return b.settled(func() (nats.Listing, error) { return b.lister.Since(filter, revision) })
}

// settled is the function of that name for what has errors with codes.
func (b backend) settled(get func() (nats.Listing, error)) (nats.Listing, error) {
	l, err := settled(b.node, get)
	if err == ErrRestoring {
		err = serviceError(err)
	}
	return l, err
}

// coded is a pending command whose errors carry codes.
type coded struct{ pending }

func (c coded) Wait() (uint64, error) {
	revision, err := c.pending.Wait()
	return revision, serviceError(err)
}
