package fsm

import (
	"context"
	"sync/atomic"
)

// Await returns when the command of that revision, or a later one, was applied. The
// error is the cause of ctx. Any goroutine may call it.
func (f *FSM) Await(ctx context.Context, revision uint64) error {
	for {
		next := f.applied.next()
		if f.Revision() >= revision {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// bell wakes all who wait for the next batch. While nobody waits, ringing it is one
// load.
//
// Who waits takes the channel and then looks at the revision; who applies sets the
// revision and then looks whether there is a channel. So either the one sees the
// revision or the other sees the channel.
type bell struct {
	waiting atomic.Pointer[chan struct{}]
}

// next returns what is closed when the bell rings the next time.
func (b *bell) next() <-chan struct{} {
	for {
		if c := b.waiting.Load(); c != nil {
			return *c
		}
		b.waiting.CompareAndSwap(nil, new(make(chan struct{})))
	}
}

// ring is for the apply goroutine alone.
func (b *bell) ring() {
	if b.waiting.Load() != nil {
		close(*b.waiting.Swap(nil))
	}
}
