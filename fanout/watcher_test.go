package fanout

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestNextWaits(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		var got *Event
		var err error
		next := func(ctx context.Context) { got, err = w.Next(ctx) }
		go next(t.Context())
		synctest.Wait()
		h.put("b")
		synctest.Wait()
		if got != nil || err != nil {
			t.Fatalf("Next gave %+v, %v before its key changed", got, err)
		}
		h.put("a")
		synctest.Wait()
		if got == nil || got.Revision != 2 || err != nil {
			t.Fatalf("Next gave %+v, %v, want revision 2", got, err)
		}

		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		go next(ctx)
		synctest.Wait()
		cancel(enough)
		synctest.Wait()
		if got != nil || !errors.Is(err, enough) {
			t.Fatalf("Next gave %+v, %v, want the cause of its context", got, err)
		}
		if w.Err() != nil {
			t.Fatalf("the context of a Next ended the watcher: %v", w.Err())
		}
		h.put("a")
		wantDrain(t, w, 3)
	})
}

func TestTryNextDoesNotWait(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		if e, ok := w.TryNext(); ok {
			t.Fatalf("TryNext gave %+v", e)
		}
		h.put("a", "a")
		wantDrain(t, w, 1, 2)
	})
}

// TestReady: the channel yields a value whenever TryNext would, and at the end.
func TestReady(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		h.put("a")
		synctest.Wait()
		ready := w.Ready() // called with an event already there
		for revision := 1; revision <= 5; revision++ {
			<-ready
			wantDrain(t, w, revision)
			if w.Ready() != ready {
				t.Fatal("Ready returned another channel")
			}
			h.put("a")
			synctest.Wait()
		}
		w.Stop()
		<-ready
		if e, ok := w.TryNext(); ok || w.Err() == nil {
			t.Fatalf("after Stop: TryNext gave %+v, Err %v", e, w.Err())
		}
		<-w.Ready() // also for those who come late
	})
}

// TestReadyShowsLoss: a marker is something to take, also with no event behind.
func TestReadyShowsLoss(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watch(t, ">", WithBuffer(2))
		ready := w.Ready()
		h.putBatch("a", "b", "c") // can never fit
		<-ready
		wantDrain(t, w, -1, -1)
	})
}

func TestEvents(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		h.put("a", "a", "a")
		var got []*Event
		for e := range w.Events() {
			if got = append(got, e); len(got) == 2 {
				break
			}
		}
		wantEvents(t, got, 1, 2)
		got = nil
		for e := range w.Events() { // a loop that was left can be taken up again
			got = append(got, e)
			w.Stop()
			w.Stop()
			h.put("a")
			synctest.Wait()
		}
		wantEvents(t, got, 3)
		if !errors.Is(w.Err(), ErrClosed) {
			t.Fatalf("Err is %v, want ErrClosed", w.Err())
		}
		h.wantLen(t, 0)
	})
}

// TestConsumerPanics: in its loop. Nobody else notices, and who recovers may go on
// with the watcher.
func TestConsumerPanics(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		other, panics := h.watchKey(t, "a"), h.watchKey(t, "a")
		h.put("a", "a")
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic does not reach the consumer")
				}
			}()
			for e := range panics.Events() {
				panic(e)
			}
		}()
		h.put("a")
		wantDrain(t, other, 1, 2, 3)
		wantDrain(t, panics, 2, 3)
		panics.Stop()
		h.wantLen(t, 1)
	})
}

// TestStopDiscards: nothing can be received once Stop has returned.
func TestStopDiscards(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		h.put("a", "a")
		synctest.Wait()
		w.Stop()
		wantDrain(t, w)
		if e, err := w.Next(t.Context()); e != nil || !errors.Is(err, ErrClosed) {
			t.Fatalf("Next gave %+v, %v, want ErrClosed", e, err)
		}
		h.put("a")
		wantDrain(t, w)
		if s := h.registry.Stats(); s.Matched != 2 || s.Events != 3 {
			t.Fatalf("the books say %+v, want 2 matched of 3 events", s)
		}
	})
}

// TestConsumersPassTheSignalOn: a marker and an event come with one signal, and
// each consumer takes one of them and no more.
func TestConsumersPassTheSignalOn(t *testing.T) {
	bubble(t, 2, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		got := make(chan *Event, 2)
		for range cap(got) {
			go func() {
				if e, err := w.Next(t.Context()); err == nil {
					got <- e
				}
			}()
		}
		synctest.Wait()
		h.put("b", "b", "b", "a")
		synctest.Wait()
		if len(got) != cap(got) {
			t.Errorf("%d of %d consumers got something", len(got), cap(got))
		}
		w.Stop()
	})
}

// TestReadyBesideNext: a consumer in Next and one that uses Ready share the events.
// Whichever of them takes the signal, the other one hears of what is left.
func TestReadyBesideNext(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		defer w.Stop()
		next := func(times int) {
			for range times {
				if _, err := w.Next(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		hears := func(when string) {
			t.Helper()
			synctest.Wait()
			select {
			case <-w.Ready():
			default:
				t.Errorf("the one that uses Ready does not hear of an event %s", when)
			}
			wantEvents(t, drain(w), int(h.revision))
		}
		go next(1)
		synctest.Wait()
		ready := w.Ready()
		h.put("a", "a")
		synctest.Wait()
		if len(ready) == 0 {
			t.Error("nobody is told of the second event")
		}
		hears("beside one for Next")

		h.put("a") // the signal is there, and not yet taken
		synctest.Wait()
		go next(2)
		synctest.Wait() // the second Next has taken it for nothing
		h.put("a")
		synctest.Wait()
		h.put("a")
		synctest.Wait()
		if len(ready) == 0 {
			t.Error("nobody is told of what came after Next was done")
		}
		hears("whose signal went to Next")
	})
}

// TestWaitingConsumerHearsOfLoss: nothing that it watches comes any more.
func TestWaitingConsumerHearsOfLoss(t *testing.T) {
	bubble(t, 2, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		var got *Event
		go func() { got, _ = w.Next(t.Context()) }()
		synctest.Wait()
		h.put("b", "b", "b", "b", "b")
		synctest.Wait()
		if !same(got, lagged(1, 3)) {
			t.Errorf("the consumer got %+v, want the marker of 1..3", got)
		}
		w.Stop()
	})
}

// TestStopWakesEveryConsumer: several may wait on one watcher.
func TestStopWakesEveryConsumer(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		const consumers = 5
		got, ends := make(chan *Event, consumers), make(chan error, consumers)
		for range consumers {
			go func() {
				for {
					e, err := w.Next(t.Context())
					if err != nil {
						ends <- err
						return
					}
					got <- e
				}
			}()
		}
		synctest.Wait()
		h.put("a", "a", "a", "a")
		synctest.Wait()
		if len(got) != 4 {
			t.Fatalf("%d of 4 events were received", len(got))
		}
		w.Stop()
		synctest.Wait()
		if len(ends) != consumers {
			t.Fatalf("%d of %d consumers heard of the end", len(ends), consumers)
		}
		for range consumers {
			if err := <-ends; !errors.Is(err, ErrClosed) {
				t.Fatalf("a consumer got %v, want ErrClosed", err)
			}
		}
	})
}

// TestNextHeedsItsContext: also where there is always something to take.
func TestNextHeedsItsContext(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		h.put("a")
		synctest.Wait()
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if e, err := w.Next(ctx); err != gone {
			t.Errorf("%v, %v", e, err)
		}
		wantEvents(t, drain(w), 1)
	})
}
