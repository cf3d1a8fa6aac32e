package node

import (
	"context"
	"sync"
)

// failure is why a node has stopped by itself.
type failure struct {
	once sync.Once
	done chan struct{}
	err  error // set before done is closed
}

func newFailure() *failure { return &failure{done: make(chan struct{})} }

// Failed is closed when the node has stopped by itself, because to go on would
// endanger what is stored, or it could serve nobody; see [Node.Err] for why. It takes no part in the cluster
// any more: writes and linearizable reads fail with the same error; stale reads and
// watchers stay. [Node.Close] it. When what was wrong is mended, [Start] it again.
func (n *Node) Failed() <-chan struct{} { return n.failure.done }

// Err returns why the node has stopped by itself, nil if it has not: an error that
// wraps [ErrStorage], [ErrOtherCluster], [ErrSameID] or [ErrBroker]. It says on one line what to
// do.
func (n *Node) Err() error {
	select {
	case <-n.failure.done:
		return n.failure.err
	default:
		return nil
	}
}

// fail stops the node. Raft's own goroutines may call it: it waits for nothing.
func (n *Node) fail(err error) {
	n.failure.once.Do(func() {
		n.failure.err = err
		close(n.failure.done)
	})
}

// obeyFailure ends Raft when the node has failed.
func (n *Node) obeyFailure(ctx context.Context) {
	select {
	case <-n.failure.done:
	case <-ctx.Done():
		return
	}
	n.log.Error("stopped by itself", "error", n.failure.err)
	if err := n.consensus.shutdown(); err != nil {
		n.log.Error("end raft", "error", err)
	}
}
