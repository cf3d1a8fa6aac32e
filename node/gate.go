package node

import (
	"context"
	"sync"
)

// writeGate lets writes pass on their way to Raft, unless it is closed: while the
// state is replaced as a whole.
type writeGate struct {
	mu     sync.Mutex
	closed bool
	inside int           // writes that are being handed to Raft
	empty  chan struct{} // closed when there are none any more; nil while the gate is open
}

// enter reports whether a write may be handed to Raft; who may calls leave after it.
func (g *writeGate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *writeGate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// close returns when no write is being handed to Raft and none will be, until open.
// The error is the cause of ctx; then the gate is open again. It must not be closed
// already.
func (g *writeGate) close(ctx context.Context) error {
	g.mu.Lock()
	g.closed, g.empty = true, make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		g.open()
		return context.Cause(ctx)
	}
}

func (g *writeGate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.empty = false, nil
}

func (g *writeGate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}
