package fanout

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
)

// Watcher receives the events of one key or pattern through a bounded buffer.
// It is pulled: it has no goroutine, and a consumer that does not come costs
// nobody anything. Get one from [Registry.WatchKey] or [Registry.Watch].
//
// One goroutine at a time should receive (several may, and then share the
// events). [Watcher.Stop], [Watcher.Err] and [Watcher.Dropped] may be called
// from any.
//
// A Watcher that becomes unreachable without Stop is unregistered: nobody can
// receive from it any more. That is a safety net for a mistake, at the
// collector's leisure; stop watchers.
type Watcher struct {
	// The handle is what callers hold; registry, context and cleanup hold only
	// the inner watcher, so that the handle's reachability means that somebody
	// can still receive.
	inner *watcher
}

// watcher is what the registry knows of a Watcher.
type watcher struct {
	registry *Registry
	filter   string // key, or pattern if pattern is set
	done     <-chan struct{}
	pattern  bool

	// Neighbours among the watchers of the same key, changed under the key's
	// shard lock; the dispatcher follows next without it.
	next atomic.Pointer[watcher]
	prev *watcher
	slot int // index in the roster, guarded by the roster's lock

	mu         sync.Mutex
	buf        buffer
	epoch      uint64        // newest gap of the dispatcher that it knows
	start      uint64        // it receives the events with a revision above
	dropped    uint64        // events lost to a full buffer
	wake       chan struct{} // made when a consumer first waits; one slot, never closed
	err        error         // why it ended; nil while it is live
	registered bool          // whoever ends it takes it out of the registry
}

// Next waits for the next event. Its error is [ErrClosed] or the cause of the
// watch's context once the watcher has ended and is drained, or the cause of
// ctx. It blocks only the caller.
func (w *Watcher) Next(ctx context.Context) (*Event, error) {
	defer runtime.KeepAlive(w)
	for {
		e, wake, err := w.inner.take(true)
		if e != nil || err != nil {
			return e, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// TryNext returns the next event, or false if there is none now. It never
// blocks.
func (w *Watcher) TryNext() (*Event, bool) {
	defer runtime.KeepAlive(w)
	e, _, _ := w.inner.take(false)
	return e, e != nil
}

// Start returns the revision at which the watch stands: the watcher receives,
// or is told that it lost, every matching event with a revision above it, and
// none below.
func (w *Watcher) Start() uint64 {
	defer runtime.KeepAlive(w)
	return w.inner.start
}

// Ready returns a channel that yields a value when TryNext is worth calling:
// there are events, or the watcher has ended (see Err). One value may stand for
// many events, so call TryNext until it says false. It is the same channel at
// every call.
func (w *Watcher) Ready() <-chan struct{} {
	defer runtime.KeepAlive(w)
	return w.inner.ready()
}

// Events returns an iterator over the events until the watcher ends; then see
// Err. It waits inside the loop, like Next.
func (w *Watcher) Events() iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		for {
			e, err := w.Next(context.Background())
			if err != nil || !yield(e) {
				return
			}
		}
	}
}

// Err returns nil while the watcher is live, then why it ended: [ErrClosed], or
// the cause of the context it was made with.
func (w *Watcher) Err() error {
	defer runtime.KeepAlive(w)
	w.inner.mu.Lock()
	defer w.inner.mu.Unlock()
	return w.inner.err
}

// Dropped returns how many events were lost because the buffer was full. What
// the dispatcher lost for everyone is not counted here but in [Stats].
func (w *Watcher) Dropped() uint64 {
	defer runtime.KeepAlive(w)
	w.inner.mu.Lock()
	defer w.inner.mu.Unlock()
	return w.inner.dropped
}

// Stop ends the watcher and discards what is buffered. It returns when no more
// events can be received. It may be called more than once, from any goroutine,
// also from within the loop over Events.
func (w *Watcher) Stop() {
	w.inner.end(ErrClosed, false)
	runtime.KeepAlive(w)
}

// take removes the next event. If there is none it returns why the watcher
// ended, or, if wanted, the channel to wait on.
func (w *watcher) take(wait bool) (e *Event, wake chan struct{}, err error) {
	w.mu.Lock()
	if e = w.buf.take(); e == nil {
		err = w.err
		if err == nil && wait {
			w.makeWake()
		}
	}
	more := w.buf.ready() || w.err != nil
	wake = w.wake
	w.mu.Unlock()
	if more {
		signal(wake) // for the next call, whoever makes it
	}
	return e, wake, err
}

func (w *watcher) ready() <-chan struct{} {
	w.mu.Lock()
	w.makeWake()
	wake, more := w.wake, w.buf.ready() || w.err != nil
	w.mu.Unlock()
	if more {
		signal(wake)
	}
	return wake
}

func (w *watcher) makeWake() {
	if w.wake == nil {
		w.wake = make(chan struct{}, 1)
	}
}

// offer delivers e, or drops it if the buffer is full. Only the dispatcher
// calls it, never with a lock held.
func (w *watcher) offer(e *Event, gaps *gapLog) (matched bool, dropped int) {
	w.mu.Lock()
	if w.err != nil || e.Revision <= w.start {
		w.mu.Unlock()
		return false, 0
	}
	w.catchUp(gaps)
	dropped = w.buf.put(e)
	w.dropped += uint64(dropped)
	var wake chan struct{}
	if w.buf.ready() {
		wake = w.wake
	}
	w.mu.Unlock()
	signal(wake)
	return true, dropped
}

// commit makes the events of a complete batch visible.
func (w *watcher) commit() {
	w.mu.Lock()
	w.buf.commit()
	wake := w.wake
	w.mu.Unlock()
	signal(wake)
}

// flag tells the watcher of the dispatcher's gaps that it has not heard of.
func (w *watcher) flag(gaps *gapLog) {
	w.mu.Lock()
	var wake chan struct{}
	if w.err == nil && w.catchUp(gaps) {
		wake = w.wake
	}
	w.mu.Unlock()
	signal(wake)
}

func (w *watcher) catchUp(gaps *gapLog) bool {
	if w.epoch == gaps.epoch {
		return false
	}
	from, to := gaps.since(w.epoch, w.start)
	w.epoch = gaps.epoch
	if to == 0 {
		return false
	}
	w.buf.lose(from, to)
	return true
}

// end makes the watcher end with err, once. With drain, what is buffered may
// still be taken first, until it is ended again without.
func (w *watcher) end(err error, drain bool) {
	w.mu.Lock()
	if !drain {
		w.buf.clear()
	}
	if w.err != nil {
		w.mu.Unlock()
		return
	}
	w.err = err
	wake, registered := w.wake, w.registered
	w.mu.Unlock()
	if registered {
		w.registry.remove(w)
	}
	signal(wake)
}

// signal wakes one waiting consumer; a nil channel has none.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
