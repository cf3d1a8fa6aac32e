package node

import (
	"context"
	"sync"
)

// readGate lets reads through when the node has proven that it still leads. A
// proof counts for those only who came before it began; all who come during one
// share the next.
type readGate struct {
	prove   func() error
	wake    chan struct{}
	stopped chan struct{} // closed when run ends

	mu   sync.Mutex
	next *readRound // collects readers; nil if there are none
}

type readRound struct {
	done chan struct{}
	err  error // set before done is closed
}

func newReadGate(prove func() error) *readGate {
	return &readGate{prove: prove, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// wait blocks until a proof that began after the call, and returns its outcome,
// the cause of ctx, or [ErrClosed].
func (g *readGate) wait(ctx context.Context) error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &readRound{done: make(chan struct{})}
	}
	round := g.next
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
	select {
	case <-round.done:
		return round.err
	case <-g.stopped:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run proves whenever there are readers, until ctx ends; then it turns them
// away.
func (g *readGate) run(ctx context.Context) {
	defer close(g.stopped)
	for {
		select {
		case <-g.wake:
			g.serve()
		case <-ctx.Done():
			return
		}
	}
}

func (g *readGate) serve() {
	g.mu.Lock()
	round := g.next
	g.next = nil
	g.mu.Unlock()
	if round == nil {
		return
	}
	round.err = g.prove()
	close(round.done)
}
