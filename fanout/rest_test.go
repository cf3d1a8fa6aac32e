package fanout

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestRest: without watchers the writer does not wake the dispatcher, which looks
// at nothing; it is not behind either. The first watcher gets what comes after
// it, however long the ring has been going round.
func TestRest(t *testing.T) {
	bubble(t, 4, func(t *testing.T, h *harness) {
		for round := range 3 {
			synctest.Wait()
			events := h.registry.Stats().Events
			for range 10 {
				h.put("a")
				if n := h.ring.parked.Load(); n != 0 {
					t.Fatalf("%d readers are parked with nobody to deliver to", n)
				}
			}
			synctest.Wait()
			if s := h.registry.Stats(); s.Events != events || s.Gaps != 0 {
				t.Fatalf("a dispatcher that rests has read %d events and lost %d ranges", s.Events-events, s.Gaps)
			}
			if got := h.dispatcher.Revision(); got != h.revision {
				t.Fatalf("Revision is %d, want %d", got, h.revision)
			}
			w := h.watchKey(t, "a")
			if w.Start() != h.revision {
				t.Fatalf("round %d: the watch starts at %d, want %d", round, w.Start(), h.revision)
			}
			next := int(h.revision) + 1
			h.put("a", "a")
			wantDrain(t, w, next, next+1)
			w.Stop()
			h.put("b") // wakes it for the last time
		}
	})
}

// TestRestKeepsHistory: what lies at or below After is still to come, and for
// nobody, also if the dispatcher was roused before.
func TestRestKeepsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{ring: newTestRing(t, 4), registry: newTestRegistry(t, RegistryOptions{})}
		h.join(t, DispatcherOptions{After: 3, Spin: -1})
		h.run(t)
		synctest.Wait()
		if got := h.dispatcher.Revision(); got != 0 {
			t.Fatalf("Revision is %d before the first event", got)
		}
		h.put("a", "a")
		synctest.Wait()
		w := h.watchKey(t, "a")
		h.put("a", "a", "a")
		wantDrain(t, w, 4, 5)
	})
}

// TestRestHammer: the last watcher goes and the first one comes while the writer
// is at full speed. Each gets what lies above its start and nothing below.
func TestRestHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		h := newHarness(t, 16, RegistryOptions{}).run(t)
		defer h.keepPutting("a", "a")()
		comeAndGo(t, func(registrar int) *Watcher { return h.watch(t, []string{"a", ">"}[registrar]) })
	})
}

// comeAndGo has two goroutines begin watches of the one key that is written, and end
// each after two events, which must be the first above its start.
func comeAndGo(t *testing.T, watch func(registrar int) *Watcher) {
	const registrars, rounds = 2, 2000
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("an event does not come"))
	defer cancel()
	var wg sync.WaitGroup
	for i := range registrars {
		wg.Go(func() {
			for range rounds {
				w := watch(i)
				s := tally{through: w.Start()}
				for range 2 {
					e, err := w.Next(ctx)
					if err == nil {
						err = s.add(e)
					}
					if err != nil {
						t.Errorf("a watch that started at %d: %v", w.Start(), err)
						return
					}
				}
				w.Stop()
			}
		})
	}
	wg.Wait()
}

// TestRestSeesTheFirstWatcher: whoever comes just as the dispatcher lies down is
// not overlooked. One side counts a watcher and looks whether the other rests,
// which says so and looks at the count.
func TestRestSeesTheFirstWatcher(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h := newHarness(t, 4, RegistryOptions{})
	var round, rested atomic.Int64
	var dispatcher sync.WaitGroup
	const rounds = 50_000
	dispatcher.Go(func() {
		for n := int64(1); n <= rounds && ctx.Err() == nil; n++ {
			for round.Load() < n && ctx.Err() == nil {
				runtime.Gosched()
			}
			h.dispatcher.rest(ctx)
			rested.Store(n)
		}
	})
	for n := int64(1); n <= rounds && ctx.Err() == nil; n++ {
		round.Store(n)
		for range n % 64 { // meets the other at a different step each time
			h.ring.Revision()
		}
		h.registry.count.Add(1)
		h.dispatcher.feed.rouse()
		for rested.Load() < n && ctx.Err() == nil {
			runtime.Gosched()
		}
		h.registry.count.Add(-1)
	}
	if ctx.Err() != nil {
		t.Errorf("the dispatcher rests beside a watcher, in round %d", round.Load())
	}
	dispatcher.Wait()
}

// TestRestBesideOneWhoDidNotRouse: the dispatcher does not lie down beside a watcher that
// has come since it found nobody. The next watcher would rouse it, and move its cursor past
// what was published for the first.
func TestRestBesideOneWhoDidNotRouse(t *testing.T) {
	h := newHarness(t, 16, RegistryOptions{})
	f := h.dispatcher.feed
	w := h.watchKey(t, "a") // the dispatcher has found nobody just before
	defer w.Stop()
	h.put("a")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	risen := make(chan struct{})
	f.mu.Lock() // as who rouses does
	go func() {
		defer close(risen)
		h.dispatcher.rest(ctx)
	}()
	for range 10_000 {
		if f.resting.Load() {
			t.Error("it rests")
			break
		}
		runtime.Gosched()
	}
	f.mu.Unlock()
	<-risen
	other := h.watchKey(t, "b")
	defer other.Stop()
	h.dispatcher.deliver(h.dispatcher.cursor.Poll(make([]*Event, 0, 16)))
	wantEvents(t, drain(w), 1)
}

// TestRestIsNotSeen: a dispatcher that finds somebody when it lies down is not taken to
// rest by those who come at that moment: they would move its cursor.
func TestRestIsNotSeen(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		h := newHarness(t, 16, RegistryOptions{})
		w := h.watchKey(t, "a")
		defer w.Stop()
		h.put("a")
		done := make(chan struct{})
		var comers sync.WaitGroup
		comers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					h.dispatcher.feed.rouse()
				}
			}
		})
		for range 50_000 {
			h.dispatcher.rest(t.Context())
		}
		close(done)
		comers.Wait()
		h.dispatcher.deliver(h.dispatcher.cursor.Poll(make([]*Event, 0, 16)))
		wantEvents(t, drain(w), 1)
	})
}

// TestRevisionAfterRest: when a dispatcher that rested has ended, its revision is still that
// of all that was for nobody.
func TestRevisionAfterRest(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		synctest.Wait() // it rests
		h.put("a", "b")
		if at := h.dispatcher.Revision(); at != 2 {
			t.Fatalf("while it rests: %d", at)
		}
		h.stop()
		if at := h.dispatcher.Revision(); at != 2 {
			t.Errorf("when it has ended: %d", at)
		}
	})
}
