package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// ReadOption says how current a read must be. Without one it is linearizable: it
// sees every write that returned before the call. To know that, the leader asks a
// majority whether it still leads, once for all reads that come together; on a node
// that does not lead the read fails with [ErrNotLeader].
type ReadOption func(*readOptions)

type readOptions struct {
	stale bool
	min   uint64
}

// Stale makes a read return what this node has, leader or not, also while the
// cluster has no leader. It waits until the node has applied the command of
// revision min, for as long as its context allows, and then fails with [ErrBehind]:
// with the revision that a write returned, a read sees that write. 0 waits for
// nothing.
func Stale(min uint64) ReadOption {
	return func(o *readOptions) { o.stale, o.min = true, min }
}

// Get returns the entry of key, or [fsm.ErrNotFound]. It blocks for as long as its
// [ReadOption] says.
func (n *Node) Get(ctx context.Context, key string, opts ...ReadOption) (fsm.Entry, error) {
	if err := fanout.CheckKey(key); err != nil {
		return fsm.Entry{}, err
	}
	return read(ctx, n, opts, func() (fsm.Entry, error) { return n.machine.Get(key) })
}

// List returns the entries whose keys match pattern (see [fanout.CheckPattern]), at
// one revision, which is stated. It blocks for as long as its [ReadOption] says, not
// for longer where there are many. The error may wrap [fanout.ErrBadPattern].
func (n *Node) List(ctx context.Context, pattern string, opts ...ReadOption) (fsm.Listing, error) {
	filter, err := fanout.PatternFilter(pattern)
	if err != nil {
		return fsm.Listing{}, err
	}
	return read(ctx, n, opts, func() (fsm.Listing, error) { return n.machine.List(filter), nil })
}

// Since returns what has changed above revision, of the keys that match pattern (see
// [fanout.CheckPattern]): each key once, with what it has now, or that it is gone; and
// the revision from which to ask the next time. It blocks as [Node.List] does. The
// error is a [*fsm.GoneError], which wraps [fsm.ErrGone], if that cannot be told: list
// then. A replica that is behind says so too; give [Stale] the revision.
func (n *Node) Since(ctx context.Context, pattern string, revision uint64, opts ...ReadOption) (fsm.Changes, error) {
	filter, err := fanout.PatternFilter(pattern)
	if err != nil {
		return fsm.Changes{}, err
	}
	return read(ctx, n, opts, func() (fsm.Changes, error) { return n.machine.Since(filter, revision) })
}

// read returns what get reads of a state that is as current as the options want it.
func read[T any](ctx context.Context, n *Node, opts []ReadOption, get func() (T, error)) (v T, err error) {
	var o readOptions
	for _, option := range opts {
		option(&o)
	}
	if o.stale {
		if err = n.await(ctx, o.min); err != nil {
			return v, err
		}
		return get()
	}
	if _, err = n.lead(ctx); err == nil {
		err = n.reads.wait(ctx)
	}
	if err != nil {
		return v, err
	}
	return settled(n, get)
}

// settled returns what get reads, unless that may be of a backup that is being restored:
// that may have begun since it was proven that this node leads, and what it brings counts
// once a majority has it.
func settled[T any](n *Node, get func() (T, error)) (T, error) {
	v, err := get()
	if n.gate.isClosed() {
		var none T
		return none, ErrRestoring
	}
	return v, err
}

// await returns when the node has applied the command of that revision.
func (n *Node) await(ctx context.Context, revision uint64) error {
	if n.closing() {
		return ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(n.leaving, func() { cancel(ErrClosed) })()
	err := n.machine.Await(ctx, revision)
	if err != nil && !errors.Is(err, ErrClosed) {
		return fmt.Errorf("%w: it is at revision %d, not at %d: %w", ErrBehind, n.Revision(), revision, err)
	}
	return err
}
