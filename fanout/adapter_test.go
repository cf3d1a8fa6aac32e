package fanout

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// TestChan: every event in order, losses in their place, the same channel each
// time; closed after what the watcher held when the dispatcher ends.
func TestChan(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a", WithBuffer(2))
		ch := w.Chan()
		if w.Chan() != ch {
			t.Fatal("Chan returned another channel")
		}
		h.put("a")
		if e := <-ch; e.Revision != 1 {
			t.Fatalf("received %+v", e)
		}
		for range 5 { // one is in the goroutine's hand, two in the buffer
			h.put("a")
			synctest.Wait()
		}
		h.stop()
		var got []*Event
		for e := range ch {
			got = append(got, e)
		}
		wantEvents(t, got, 2, 3, 4, -5, -6)
		if !errors.Is(w.Err(), ErrClosed) {
			t.Fatalf("Err is %v", w.Err())
		}
	})
}

// TestChanStop: when Stop has returned nothing more is received and the goroutine
// has ended, wherever it was; also from within the loop, twice, and before the
// first event.
func TestChanStop(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		stopped := func(ch <-chan *Event) {
			t.Helper()
			select {
			case e, ok := <-ch:
				if ok {
					t.Fatalf("received revision %d after Stop", e.Revision)
				}
			default:
				t.Fatal("the channel is open after Stop")
			}
		}
		waiting := h.watchKey(t, "a")
		ch := waiting.Chan()
		synctest.Wait()
		waiting.Stop()
		stopped(ch)
		waiting.Stop()
		stopped(waiting.Chan())

		handing := h.watchKey(t, "a")
		ch = handing.Chan()
		h.put("a", "a")
		synctest.Wait()
		handing.Stop()
		stopped(ch)

		inside := h.watchKey(t, "a")
		h.put("a", "a", "a")
		n := 0
		for range inside.Chan() {
			n++
			inside.Stop()
		}
		if n != 1 {
			t.Fatalf("received %d events, stopped after the first", n)
		}

		late := h.watchKey(t, "a")
		late.Stop()
		if _, ok := <-late.Chan(); ok {
			t.Fatal("received an event of a stopped watcher")
		}
	})
}

// TestChanCutFirst: what the goroutine took before Stop it does not hand over behind it,
// though somebody is there to receive: where it read the state just then, Stop does not
// wait for it.
func TestChanCutFirst(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		for range 64 { // if it were one of two, it would be by chance
			w := h.watchKey(t, "a")
			h.put("a")
			a := &adapter{events: make(chan *Event), cut: make(chan struct{}), done: make(chan struct{})}
			received := make(chan bool, 1)
			go func() {
				_, ok := <-a.events
				received <- ok
			}()
			synctest.Wait()
			close(a.cut) // as Stop does when the goroutine has the event
			a.run(w)
			if <-received {
				t.Fatal("received an event behind Stop")
			}
			w.Stop()
		}
	})
}

// TestChanContext: the end of the watch's context closes it, though nobody
// receives.
func TestChanContext(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		w, err := h.registry.Watch(ctx, ">")
		if err != nil {
			t.Fatal(err)
		}
		ch := w.Chan()
		h.put("a", "a", "a")
		synctest.Wait()
		cancel(gone)
		synctest.Wait() // and goleak sees to it that nobody is left
		if _, ok := <-ch; ok {
			t.Fatal("received an event after the end")
		}
		if !errors.Is(w.Err(), gone) {
			t.Fatalf("Err is %v, want the cause", w.Err())
		}
	})
}

// TestChanContextAfterTheEnd: the context still ends the goroutine of a watcher that
// had ended before, with events that nobody comes for.
func TestChanContextAfterTheEnd(t *testing.T) {
	ends := map[string]struct {
		end  func(h *harness)
		want error
	}{
		"with its dispatcher": {(*harness).stop, ErrClosed},
		"because it lagged":   {func(h *harness) { h.put("a", "a", "a", "a") }, ErrLagged},
	}
	for name, c := range ends {
		t.Run(name, func(t *testing.T) {
			bubble(t, 64, func(t *testing.T, h *harness) {
				ctx, cancel := context.WithCancel(t.Context())
				w, err := h.registry.WatchKey(ctx, "a", WithBuffer(2), WithPolicy(Cancel))
				if err != nil {
					t.Fatal(err)
				}
				ch := w.Chan()
				h.put("a", "a")
				synctest.Wait()
				c.end(h)
				synctest.Wait()
				if !errors.Is(w.Err(), c.want) {
					t.Fatalf("Err is %v, want %v", w.Err(), c.want)
				}
				cancel()
				synctest.Wait()
				if _, ok := <-ch; ok {
					t.Error("received an event after the end of the context")
				}
				if !errors.Is(w.Err(), c.want) {
					t.Errorf("Err has become %v", w.Err())
				}
				h.wantLen(t, 0)
				w.Stop()
			})
		})
	}
}

// TestChanStopBesideHistory: Stop waits for the goroutine also while it reads through
// history, which calls nobody who may wait for Stop.
func TestChanStopBesideHistory(t *testing.T) {
	h := newHarness(t, DefaultSlots, RegistryOptions{}).run(t)
	for range 30_000 {
		h.put("b")
	}
	for range 300 {
		w := h.watchKey(t, "a", FromRevision(1))
		w.Chan()
		for begun := false; !begun; runtime.Gosched() {
			w.inner.mu.Lock()
			begun = w.inner.flags.have(reading) || w.inner.behind() == nil // or is through
			w.inner.mu.Unlock()
		}
		w.Stop()
		select {
		case <-w.inner.extra.adapter.done:
		default:
			t.Fatal("the goroutine is at work after Stop")
		}
	}
}

// TestChanStopHammer: Stop beside a receiver and a writer at full speed.
func TestChanStopHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		h := newHarness(t, 64, RegistryOptions{}).run(t)
		defer h.keepPutting("a")()
		for round := range 1000 {
			w := h.watchKey(t, "a")
			ch := w.Chan()
			for range round % 3 {
				<-ch
			}
			var receiver sync.WaitGroup
			receiver.Go(func() {
				for range ch {
				}
			})
			w.Stop()
			if e, ok := <-ch; ok {
				t.Fatalf("received revision %d after Stop", e.Revision)
			}
			receiver.Wait()
		}
	})
}
