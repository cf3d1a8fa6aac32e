package fanout

import (
	"context"
	"fmt"
	"iter"
	"runtime"
)

// Watcher receives the events of one key or pattern through a bounded buffer.
// It is pulled: it has no goroutine, and a consumer that does not come costs
// nobody anything. Get one from [Registry.WatchKey] or [Registry.Watch].
//
// One goroutine at a time should receive (several may, and then share the
// events). All other methods may be called from any.
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

// Next waits for the next event. Its error is that of [Watcher.Err] once the
// watcher has ended and is drained, or, though there is something, the cause of ctx if
// that has ended. It blocks only the caller. Within a function of a [Snapshot] it fails with [ErrWithinSnapshot] where
// it would wait for a state that is being read, this one or another. (That is known
// only of the goroutine that the function was called in: another one, that of an
// [iter.Pull] too, waits until ctx ends or the watcher does.) Without a context it fails with
// [ErrBadOption].
func (w *Watcher) Next(ctx context.Context) (*Event, error) {
	defer runtime.KeepAlive(w)
	if ctx == nil {
		return nil, fmt.Errorf("%w: the context is nil", ErrBadOption)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	done := ctx.Done()
	e, wake, err := w.inner.take(true, false)
	for e == nil && err == nil {
		if w.inner.flags.have(inState) && withinSnapshot() {
			w.inner.leave()
			return nil, fmt.Errorf("%w: the state is being read that Next would wait for; receive when it is through", ErrWithinSnapshot)
		}
		if done == nil {
			<-wake // cheaper than a select
		} else {
			select {
			case <-wake:
			case <-done:
				w.inner.leave()
				return nil, context.Cause(ctx)
			}
		}
		e, wake, err = w.inner.take(true, true)
	}
	return e, err
}

// TryNext returns the next event, or false if there is none now. It never waits
// for one, but while the watcher catches up it may read through history, or the
// state, first; if another consumer is at that, there is none now.
func (w *Watcher) TryNext() (*Event, bool) {
	defer runtime.KeepAlive(w)
	e, _, _ := w.inner.take(false, false)
	return e, e != nil
}

// Start returns the revision at which the watch stands: the watcher receives,
// or is told that it lost, every matching event with a revision above it, and
// no other, but for the state that [WithInitial] begins with.
func (w *Watcher) Start() uint64 {
	defer runtime.KeepAlive(w)
	w.inner.mu.Lock()
	defer w.inner.mu.Unlock()
	if x := w.inner.extra; x != nil && x.late {
		return x.start
	}
	return w.inner.above
}

// Ready returns a channel that yields a value when TryNext is worth calling:
// there are events, or the watcher has ended (see Err). One value may stand for
// many events, so call TryNext until it says false, and then look at Err: once the
// watcher has ended there is a value after every TryNext, because others may wait for
// it, too. It is the same channel at every call.
func (w *Watcher) Ready() <-chan struct{} {
	defer runtime.KeepAlive(w)
	return w.inner.ready()
}

// Events returns an iterator over the events until the watcher ends; then see
// Err. It waits inside the loop, like Next, and within a function of a [Snapshot] it
// also ends where that fails.
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

// Err returns nil while the watcher is live, then why it ended: [ErrClosed],
// [ErrLagged] with the policy [Cancel], or the cause of the context it was made
// with; [ErrSnapshot] if the state could not be read.
func (w *Watcher) Err() error {
	defer runtime.KeepAlive(w)
	w.inner.mu.Lock()
	defer w.inner.mu.Unlock()
	return w.inner.why()
}

// Dropped returns how many events were lost because the buffer was full. What
// the dispatcher lost for everyone is not counted here but in [Stats]; what was
// conflated is not lost.
func (w *Watcher) Dropped() uint64 {
	defer runtime.KeepAlive(w)
	w.inner.mu.Lock()
	defer w.inner.mu.Unlock()
	return w.inner.dropped
}

// Stop ends the watcher and discards what is buffered. It returns when no more
// events can be received. It may be called more than once, from any goroutine,
// also from within the loop over Events and by a function of a [Snapshot]. It does
// not wait for one of these that is at work: when that returns, what it read is
// dropped and the snapshot is closed.
func (w *Watcher) Stop() {
	defer runtime.KeepAlive(w)
	w.inner.end(ErrClosed, false)
	w.inner.mu.Lock()
	var a *adapter
	if w.inner.extra != nil {
		a = w.inner.extra.adapter
	}
	stateRead := w.inner.flags.have(inState)
	w.inner.mu.Unlock()
	if a == nil || stateRead && !a.handing.Load() {
		return // the adapter may be who reads it, and have called
	}
	<-a.done
}

// abandoned is the finalizer.
func (w *Watcher) abandoned() { w.inner.end(ErrClosed, false) }
