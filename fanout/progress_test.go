package fanout

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// pass lets n progress intervals go by.
func pass(n int) {
	synctest.Wait()
	<-time.After(time.Duration(n) * DefaultProgressInterval)
	synctest.Wait()
}

// wantNext takes one event, which must be this: a change, or how far the
// dispatcher was.
func wantNext(t *testing.T, w *Watcher, op Op, revision uint64) {
	t.Helper()
	e, ok := w.TryNext()
	if !ok || e.Op != op || e.Revision != revision {
		t.Fatalf("got %+v, want %v %d", e, op, revision)
	}
}

func wantNothing(t *testing.T, w *Watcher) {
	t.Helper()
	if e, ok := w.TryNext(); ok {
		t.Fatalf("got %v %d, want nothing", e.Op, e.Revision)
	}
}

// TestProgress: it comes once nothing else waits, at the revision through which
// everything was delivered, whether or not something was for the watcher; and
// only to who asked.
func TestProgress(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		asked, pattern, other := h.watchKey(t, "a", WithProgress()), h.watch(t, "*", WithProgress()), h.watchKey(t, "a")
		h.put("b", "b")
		pass(1)
		wantNext(t, asked, Progress, 2)
		wantNothing(t, asked)
		wantNext(t, pattern, Put, 1)
		wantNext(t, pattern, Put, 2)
		wantNext(t, pattern, Progress, 2)
		wantNothing(t, other)
		pass(3) // nobody came for it: one is enough
		wantNext(t, asked, Progress, 2)
		wantNothing(t, asked)
		h.put("b", "a", "b") // 3 to 5
		pass(1)
		wantNext(t, asked, Put, 4)
		wantNext(t, asked, Progress, 5)
		pass(1)
		h.put("a") // 6
		synctest.Wait()
		wantNext(t, asked, Put, 6) // what was left word of is behind
		wantNothing(t, asked)
		if s := h.registry.Stats(); s.Matched != s.Delivered+s.Pending {
			t.Fatalf("progress is counted: %+v", s)
		}
	})
}

// TestProgressWakes: a consumer that waits is woken for it.
func TestProgressWakes(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a", WithProgress())
		begun := time.Now()
		for range 3 {
			if e, err := w.Next(t.Context()); err != nil || e.Op != Progress {
				t.Fatalf("got %+v, %v", e, err)
			}
		}
		if took := time.Since(begun); took != 3*DefaultProgressInterval {
			t.Fatalf("three came within %v", took)
		}
		ready := h.watchKey(t, "a", WithProgress())
		<-ready.Ready()
		wantNext(t, ready, Progress, 0)
	})
}

// TestProgressIsOfWhatWasDelivered: whoever is told of progress has been offered what lies
// at or below it: not what is published only, and a loss though the walk has not come by.
func TestProgressIsOfWhatWasDelivered(t *testing.T) {
	h := newHarness(t, 4, RegistryOptions{})
	d, w := h.dispatcher, h.watchKey(t, "a", WithProgress())
	defer w.Stop()
	tell := func() {
		d.progress.active, d.progress.end = true, -1
		d.progress.slice(d)
	}
	read := func() { d.deliver(d.cursor.Poll(make([]*Event, 0, 16))) }
	h.put("a") // 1
	tell()
	wantNext(t, w, Progress, 0)
	read()
	tell()
	wantNext(t, w, Put, 1)
	wantNext(t, w, Progress, 1)
	h.put("b", "b", "b", "b", "b", "b") // 2 to 7, of which 4 are kept
	read()
	tell()
	wantEvents(t, []*Event{mustTake(t, w)}, -2, -3)
	wantNext(t, w, Progress, 7)
	wantNothing(t, w)
}

// TestProgressAfterLoss: what was lost is told first, whoever lost it, and word of
// progress from before a loss is not given behind it.
func TestProgressAfterLoss(t *testing.T) {
	bubble(t, 4, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a", WithProgress(), WithBuffer(1))
		h.put("a", "a", "a", "b")
		pass(1)
		wantNext(t, w, Put, 1)
		wantEvents(t, []*Event{mustTake(t, w)}, -2, -3)
		wantNext(t, w, Progress, 4)
		pass(1)                                  // Progress 4 waits
		h.put("b", "b", "b", "b", "b", "b")      // 5 to 10, of which 4 are kept
		wantDrain(t, w, -5, -6)                  // and is forgotten
		h.put("b", "b", "b", "b", "b", "b", "b") // 11 to 17
		pass(1)
		wantEvents(t, []*Event{mustTake(t, w)}, -11, -13)
		wantNext(t, w, Progress, 17)
		wantNothing(t, w)

		cancelled := h.watchKey(t, "a", WithProgress(), WithPolicy(Cancel))
		h.put("b", "b", "b", "b", "b")
		pass(1)
		if err := cancelled.Err(); !errors.Is(err, ErrLagged) {
			t.Fatalf("the watcher has ended with %v, want ErrLagged", err)
		}
	})
}

func mustTake(t *testing.T, w *Watcher) *Event {
	t.Helper()
	e, ok := w.TryNext()
	if !ok {
		t.Fatal("there is nothing to take")
	}
	return e
}

// TestProgressToMany: more than one slice of them, and none is told of what it
// did not receive yet, while changes go on in between.
func TestProgressToMany(t *testing.T) {
	bubble(t, 1024, func(t *testing.T, h *harness) {
		var all []*Watcher
		for range 3*progressSlice + 1 {
			all = append(all, h.watchKey(t, "a", WithProgress()))
		}
		for round := 1; round <= 3; round++ {
			h.put("a")
			pass(1)
			for _, w := range all {
				wantNext(t, w, Put, uint64(round))
				wantNext(t, w, Progress, uint64(round))
			}
		}
	})
}

// TestProgressOnlyWhileAsked: no ticker runs without a watcher that asked, and a
// later one is told again.
func TestProgressOnlyWhileAsked(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		other := h.watchKey(t, "b")
		defer other.Stop()
		for range 3 {
			w := h.watchKey(t, "a", WithProgress())
			pass(1)
			wantNext(t, w, Progress, h.revision)
			w.Stop()
			pass(1) // the tick that is its last
			synctest.Wait()
			if h.dispatcher.progress.ticker != nil {
				t.Fatal("a ticker runs for nobody")
			}
		}
	})
}

// TestProgressWhileCatchingUp: nothing is said of the present while the past is
// still to be read.
func TestProgressWhileCatchingUp(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		h.put("a", "b", "a")
		synctest.Wait()
		w := h.watchKey(t, "a", FromRevision(1), WithProgress())
		pass(1)
		wantNext(t, w, Put, 1)
		pass(1)
		wantNext(t, w, Put, 3)
		wantNothing(t, w) // live from here
		pass(1)
		wantNext(t, w, Progress, 3)
	})
}

// TestProgressBesideALongSpin: a dispatcher that spins does not forget the time.
func TestProgressBesideALongSpin(t *testing.T) {
	ring, err := NewRing(RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{ring: ring, registry: newTestRegistry(t, RegistryOptions{})}
	h.join(t, DispatcherOptions{Spin: time.Second, ProgressInterval: 5 * time.Millisecond})
	h.run(t)
	w := h.watchKey(t, "a", WithProgress())
	h.put("b")
	begun := time.Now()
	for range 10 {
		if _, err := w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("ten times took %v", took)
	}
}
