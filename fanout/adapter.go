package fanout

import (
	"context"
	"sync/atomic"
)

// adapter hands a watcher's events over on a channel. Its goroutine is the only
// one that sends, and closes the channel when the watcher has ended.
type adapter struct {
	events chan *Event
	cut    chan struct{} // closed when the watcher is stopped: nothing more is handed over
	done   chan struct{} // closed when the goroutine has ended
	// It has an event that it may hand over. Set before it looks at cut, which is
	// closed before Stop looks at this: so one of the two sees the other.
	handing atomic.Bool
	over    bool // it has nothing to hand over any more; guarded by the watcher's mutex
}

// Chan returns a channel of the events, for those who want to select on it; it is
// closed when the watcher has ended, then see Err. It is the same channel at every
// call. Next, TryNext and Ready cost less, and nothing needs a goroutine with
// them: the first call of Chan starts one, which holds one event at most that has
// left the buffer, and which ends when the channel has been closed; Stop waits for
// it, unless the watcher's [Snapshot] is being read. So a watcher with Chan must be
// stopped, by Stop or by its context: what its goroutine holds does not become
// unreachable.
func (w *Watcher) Chan() <-chan *Event {
	w.inner.mu.Lock()
	defer w.inner.mu.Unlock()
	x := w.inner.more()
	if x.adapter == nil {
		x.adapter = &adapter{events: make(chan *Event), cut: make(chan struct{}), done: make(chan struct{})}
		go x.adapter.run(w)
	}
	return x.adapter.events
}

func (a *adapter) run(w *Watcher) {
	defer close(a.done)
	defer close(a.events)
	for {
		e, err := w.Next(context.Background())
		if err != nil {
			w.inner.mu.Lock()
			a.over = true
			w.inner.mu.Unlock()
			return
		}
		a.handing.Store(true)
		select {
		case <-a.cut: // first: beside a receiver it would be one of two
			return
		default:
		}
		select {
		case a.events <- e:
		case <-a.cut:
			return
		}
		a.handing.Store(false)
	}
}
