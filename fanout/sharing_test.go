package fanout

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// receivers are the ways to wait for an event and take it. What they return says false
// if there is none, as it may be for one of several.
var receivers = map[string]func(ctx context.Context, w *Watcher) func() (*Event, bool){
	"Next": func(ctx context.Context, w *Watcher) func() (*Event, bool) {
		return func() (*Event, bool) {
			e, err := w.Next(ctx)
			return e, err == nil
		}
	},
	"Ready": func(ctx context.Context, w *Watcher) func() (*Event, bool) {
		ready := w.Ready()
		return func() (*Event, bool) {
			if e, ok := w.TryNext(); ok {
				return e, ok
			}
			select {
			case <-ready:
			case <-ctx.Done():
			}
			return w.TryNext()
		}
	},
	"Chan": func(ctx context.Context, w *Watcher) func() (*Event, bool) {
		events := w.Chan()
		return func() (e *Event, ok bool) {
			select {
			case e, ok = <-events:
			case <-ctx.Done():
			}
			return e, ok
		}
	},
}

// share receives in several ways at once, counting the events, until the watcher ends
// or ctx does, which is a failure.
func share(ctx context.Context, t *testing.T, w *Watcher, received *atomic.Int64, ways ...string) (wait func()) {
	var wg sync.WaitGroup
	for _, way := range ways {
		receive := receivers[way](ctx, w)
		wg.Go(func() {
			for {
				switch e, ok := receive(); {
				case ok && e.Revision >= 1:
					received.Add(1)
				case ctx.Err() != nil:
					t.Error(context.Cause(ctx)) // the end may be what does not come
					return
				case w.Err() != nil:
					return
				}
			}
		})
	}
	return wg.Wait
}

// TestConsumersShareSnapshot: several receive, and each entry and each event comes to
// one of them; nobody sleeps while there is something.
func TestConsumersShareSnapshot(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		for range 50 {
			const entries, live = 100, 20
			s := newScripted(t, entries)
			s.next = func(int) { runtime.Gosched() }
			var received atomic.Int64
			ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("an event does not come"))
			wait := share(ctx, t, s.w, &received, "Ready", "Next", "Next")
			for want := int64(entries + 1); want <= entries+1+live; want++ { // with Progress
				for received.Load() < want && ctx.Err() == nil {
					runtime.Gosched()
				}
				s.put("a")
			}
			for received.Load() < entries+2+live && ctx.Err() == nil {
				runtime.Gosched()
			}
			s.w.Stop()
			wait()
			cancel()
			if n := received.Load(); n != entries+2+live || s.closed.Load() != 1 || s.read != entries+1 {
				t.Fatalf("%d events were received, %d entries read, the state closed %d times", n, s.read, s.closed.Load())
			}
			s.stop()
		}
	})
}

// inReplay returns a watcher that stays behind: its dispatcher begins above all that
// the test writes, as a node's does above what it replays at its start.
func inReplay(t *testing.T) (*harness, *Watcher) {
	h := &harness{ring: newTestRing(t, 1024), registry: newTestRegistry(t, RegistryOptions{})}
	h.join(t, DispatcherOptions{After: 1 << 40, Spin: -1})
	return h, h.watchKey(t, "a", FromRevision(1))
}

// TestConsumersShareReplay: the same below the revision where the dispatcher begins,
// where one after the other waits for the writer. Each of them learns of the end.
func TestConsumersShareReplay(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		for _, ways := range [][]string{{"Next", "Next"}, {"Ready", "Ready"}, {"Ready", "Next", "Next"}, {"Chan", "Next"}} {
			const events = 20_000
			h, w := inReplay(t)
			h.run(t)
			var received atomic.Int64
			ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("an event does not come"))
			wait := share(ctx, t, w, &received, ways...)
			for want := int64(1); want <= events && ctx.Err() == nil; want++ {
				h.put("a")
				for received.Load() < want && ctx.Err() == nil {
					runtime.Gosched()
				}
			}
			w.Stop()
			wait()
			cancel()
			h.stop()
			if n := received.Load(); n != events {
				t.Fatalf("%v received %d events of %d", ways, n, events)
			}
		}
	})
}

// TestSignalTakenByAnother: the writer's signal comes to a consumer that finds another
// at what the watcher catches up with, just when that one has parked the cursor. The
// event does not wait for the next one.
func TestSignalTakenByAnother(t *testing.T) {
	for _, way := range []string{"Next", "Ready", "Chan"} {
		t.Run(way, func(t *testing.T) {
			h, w := inReplay(t) // no dispatcher runs: it would wait for the lock
			inner := w.inner
			var received atomic.Int64
			ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("an event does not come"))
			defer cancel()
			wait := share(ctx, t, w, &received, way)
			// The moment lasts for nanoseconds. But a mutex that others hold for so long
			// that one must wait a millisecond goes to them in turn: so one of these has
			// it when the consumer comes to say that it is not at it any more.
			const times = 10
			taken, want := 0, int64(0) // with the lock held
			hold := func() (more bool) {
				inner.mu.Lock()
				defer inner.mu.Unlock()
				for end := time.Now().Add(time.Millisecond); time.Now().Before(end); runtime.Gosched() {
					if taken == times || !inner.behind().cursor.parked.Load() || received.Load() < want {
						continue
					}
					at := inner.flags.have(reading)
					h.put("a")
					want++
					if at {
						<-inner.extra.wake // as the other consumer does
						taken++
					}
				}
				return ctx.Err() == nil && (taken < times || received.Load() < want)
			}
			var holders sync.WaitGroup
			for range 3 {
				holders.Go(func() {
					for hold() {
					}
				})
			}
			holders.Wait()
			w.Stop()
			wait()
			if taken < times || received.Load() != want {
				t.Errorf("%d signals were taken, %d events of %d received", taken, received.Load(), want)
			}
		})
	}
}
