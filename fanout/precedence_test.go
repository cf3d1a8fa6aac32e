package fanout

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// TestWaitingConsumersFirst: who waits is woken before the dispatcher turns to a
// watcher that nobody waits for, whatever kind the two are and whichever event was
// first. The others are held up here, by their lock.
func TestWaitingConsumersFirst(t *testing.T) {
	for _, waiting := range []string{"waiting", "waiting.*", ">"} {
		for _, stalled := range []string{"stalled", "stalled.*", ">"} {
			t.Run(waiting+" before "+stalled, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("nobody woke the consumer that waits"))
				defer cancel()
				h := newHarness(t, 64, RegistryOptions{})
				for range 3 {
					s := h.watch(t, stalled)
					s.inner.mu.Lock()
					defer s.inner.mu.Unlock()
				}
				w := h.watch(t, waiting)
				ready := w.Ready()
				events := []*Event{change("stalled", 1), change("stalled.x", 2), change("waiting", 3), change("waiting.x", 4)}
				var dispatcher sync.WaitGroup
				dispatcher.Go(func() { h.dispatcher.deliver(events) })
				t.Cleanup(dispatcher.Wait)
				select {
				case <-ready:
				case <-ctx.Done():
					t.Error(context.Cause(ctx))
				}
			})
		}
	}
}

// TestGiveWay: a consumer that was woken runs before the rest is served, on one
// processor too, where nobody else could take it up. Now and then, once in 61 times, the
// runtime prefers who has given way. The rest is whom nobody waits for; and of keys,
// those of which nobody waited for the last event, if somebody did for another.
func TestGiveWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for name, predicted := range map[string]bool{"nobody waits for": false, "nobody is expected to wait for": true} {
		const rounds = 20
		late := 0
		for range rounds {
			if giveWay(t, predicted) > 0 {
				late++
			}
		}
		if late > rounds/2 {
			t.Errorf("%d times of %d the consumer came after those that %s", late, rounds, name)
		}
	}
}

// giveWay returns how many events the other watcher held when the one that waits had
// its own. The other waits too if the first alone is predicted to.
func giveWay(t *testing.T, predicted bool) (left uint32) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 64, RegistryOptions{})
		other, w := h.watchKey(t, "other"), h.watchKey(t, "waiting")
		if predicted {
			h.dispatcher.predictor.learn(h.registry.keys.hash("waiting"), true)
			other.Ready()
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := w.Next(t.Context()); err != nil {
				t.Error(err)
			}
			other.inner.mu.Lock()
			left = other.inner.buf.pending()
			other.inner.mu.Unlock()
		}()
		synctest.Wait()
		h.dispatcher.deliver([]*Event{change("other", 1), change("waiting", 2)})
		<-done
		wantEvents(t, drain(other), 1)
		other.Stop() // within the bubble, whose channel it waits on
	})
	return left
}

// TestLaterIsBounded: more watchers than that are served in between, each once.
func TestLaterIsBounded(t *testing.T) {
	h := newHarness(t, 64, RegistryOptions{})
	watchers := make([]*Watcher, 2*maxLater+1)
	for i := range watchers {
		watchers[i] = h.watchKey(t, "k")
	}
	h.dispatcher.deliver([]*Event{change("k", 1), change("k", 2)})
	for _, w := range watchers {
		wantEvents(t, drain(w), 1, 2)
	}
	p := &h.dispatcher.precedence
	if len(p.later) != 0 || cap(p.later) > 2*maxLater {
		t.Errorf("%d are left for later, of %d", len(p.later), cap(p.later))
	}
	for _, l := range p.later[:cap(p.later)] {
		if l.watcher != nil || l.events != nil {
			t.Fatal("who was served is still referred to")
		}
	}
}

// TestAwaited: the flag says whether a consumer waits, however it does and however
// that ends.
func TestAwaited(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "k")
		is := func(want bool, when string) {
			t.Helper()
			synctest.Wait()
			if w.inner.flags.have(awaited) != want {
				t.Errorf("awaited is %v %s", !want, when)
			}
		}
		next := func(ctx context.Context) (ended chan struct{}) {
			ended = make(chan struct{})
			go func() {
				defer close(ended)
				w.Next(ctx)
			}()
			return ended
		}
		is(false, "at first")
		w.TryNext()
		is(false, "by one who has looked and never asked to be woken")
		polled := h.watch(t, "*")
		polled.TryNext()
		if polled.inner.flags.have(awaited) {
			t.Error("awaited is true of a pattern by one who has looked and never asked to be woken")
		}
		polled.Stop()
		w.Ready()
		is(true, "by one who asked for Ready")
		h.put("k")
		is(false, "when that has a value")
		drain(w)
		is(true, "by one who has found nothing and uses Ready")
		h.put("k")
		drain(w)
		h.put("k")
		is(false, "again")
		drain(w)
		ctx, cancel := context.WithCancel(t.Context())
		a := next(ctx)
		b := next(t.Context())
		is(true, "by two in Next")
		cancel()
		<-a
		is(true, "by one in Next")
		h.put("k")
		<-b
		w.inner.mu.Lock()
		armed := w.inner.extra.armed
		w.inner.mu.Unlock()
		is(armed, "when both have gone")
		w.Stop()
		is(false, "after the end")
	})
}
