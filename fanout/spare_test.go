package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
)

// TestSpare: what is for nobody does not wake the dispatcher, which reads none of it,
// is not behind, and loses nothing by it, however much it is. The next event for
// somebody comes as ever.
func TestSpare(t *testing.T) {
	bubble(t, 8, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		h.put("a")
		wantDrain(t, w, 1)
		for round := range 3 {
			synctest.Wait()
			before := h.registry.Stats()
			for range 30 {
				h.put("b", "c")
				h.putBatch("b", "c", "d")
				if !h.dispatcher.cursor.parked.Load() {
					t.Fatalf("round %d: the dispatcher was woken for nobody", round)
				}
			}
			synctest.Wait()
			if s := h.registry.Stats(); s.Events != before.Events || s.Gaps != 0 {
				t.Fatalf("round %d: a dispatcher that was spared has read %d events and lost %d ranges", round, s.Events-before.Events, s.Gaps)
			}
			if got := h.dispatcher.Revision(); got != h.revision {
				t.Fatalf("round %d: Revision is %d, want %d", round, got, h.revision)
			}
			late := h.watchKey(t, "b")
			if late.Start() != h.revision {
				t.Fatalf("round %d: a watch starts at %d, want %d", round, late.Start(), h.revision)
			}
			next := int(h.revision) + 1
			h.put("b", "a", "c")
			wantDrain(t, late, next)
			wantDrain(t, w, next+1)
			late.Stop()
		}
	})
}

// TestSpareEnds: whatever may concern anyone wakes the dispatcher.
func TestSpareEnds(t *testing.T) {
	for name, c := range map[string]struct {
		watch   string
		publish func(*harness)
	}{
		"a pattern":         {"b.*", func(h *harness) { h.put("b.x") }},
		"all keys":          {">", func(h *harness) { h.put("b") }},
		"last of a flush":   {"b", func(h *harness) { h.put("c", "d", "b") }},
		"last of a batch":   {"b", func(h *harness) { h.putBatch("c", "d", "b") }},
		"many in a flush":   {"k.299", func(h *harness) { h.put(numbered(300)...) }},
		"more than it has":  {"k.0", func(h *harness) { h.put(numbered(2000)...) }},
		"a reset":           {"b", func(h *harness) { h.revision++; h.ring.Reset(h.revision) }},
		"a loss":            {"b", func(h *harness) { h.revision++; h.ring.Push(lagged(h.revision, h.revision)); h.ring.Flush() }},
		"an oversize batch": {"b", func(h *harness) { h.putBatch(numbered(2000)...) }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1024, func(t *testing.T, h *harness) {
				elsewhere := h.watchKey(t, "elsewhere")
				defer elsewhere.Stop() // or the collector does, and the dispatcher rests
				synctest.Wait()
				h.put("c") // spared
				w := h.watch(t, c.watch)
				synctest.Wait()
				c.publish(h)
				synctest.Wait()
				if e, ok := w.TryNext(); !ok || e.Revision <= w.Start() {
					t.Fatalf("received %+v, %v", e, ok)
				}
				if got := h.dispatcher.Revision(); got != h.revision {
					t.Errorf("Revision is %d, want %d", got, h.revision)
				}
			})
		})
	}
}

func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("k.", i)
	}
	return keys
}

// TestSpareHammer: watches begin and end while the writer publishes what is for
// nobody but them. Each gets what lies above its start, and nothing is said to be
// lost that was for nobody.
func TestSpareHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		h := newHarness(t, 64, RegistryOptions{}).run(t)
		elsewhere := h.watchKey(t, "elsewhere")
		defer elsewhere.Stop()
		defer h.keepPutting("a")()
		comeAndGo(t, func(int) *Watcher { return h.watchKey(t, "a") })
	})
}

// TestSpareSeesEveryWatcher: whoever registers as the writer publishes is not
// overlooked, at whatever step they meet. The event that follows the watch is the
// last one, so nothing else wakes the dispatcher.
func TestSpareSeesEveryWatcher(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("an event does not come"))
	defer cancel()
	h := newHarness(t, 64, RegistryOptions{}).run(t)
	elsewhere := h.watchKey(t, "elsewhere")
	defer elsewhere.Stop()
	turns, published := make(chan int), make(chan uint64)
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := range turns {
			for range n {
				h.ring.Revision()
			}
			h.put("a")
			published <- h.revision
		}
	})
	defer writer.Wait()
	defer close(turns)
	for n := range 20_000 {
		turns <- n % 64
		w := h.watchKey(t, "a")
		if last := <-published; last > w.Start() {
			if e, err := w.Next(ctx); err != nil || e.Revision != last {
				t.Fatalf("round %d: a watch that started at %d received %+v, %v; want revision %d", n, w.Start(), e, err, last)
			}
		}
		w.Stop()
	}
}

// TestSpareOnlyBehindWhatIsDelivered: an event may come after the dispatcher's last
// look and before it says that it parks. What follows, for nobody, must not make it
// pass over that.
func TestSpareOnlyBehindWhatIsDelivered(t *testing.T) {
	h := newHarness(t, 8, RegistryOptions{})
	w := h.watchKey(t, "a")
	defer w.Stop()
	h.put("a") // nobody is parked, so nobody looks whether it is for someone
	c := h.dispatcher.cursor
	h.ring.parked.Add(1)
	c.parked.Store(true)
	h.put("b")
	if c.parked.Load() || h.dispatcher.Revision() > 0 {
		t.Errorf("the dispatcher is spared at revision %d and has delivered nothing", h.dispatcher.Revision())
	}
}

// TestSpareOfWhatIsGone: of what was evicted before it was published nothing can be said, so
// the dispatcher is woken, which tells the loss.
func TestSpareOfWhatIsGone(t *testing.T) {
	h := newHarness(t, 8, RegistryOptions{})
	w := h.watchKey(t, "a")
	defer w.Stop()
	c := h.dispatcher.cursor
	if !c.park() {
		t.Fatal("the ring has something")
	}
	h.put(append([]string{"a"}, numbered(20)...)...)
	if c.parked.Load() {
		t.Error("the dispatcher is spared what it would have told")
	}
	h.dispatcher.deliver(c.Poll(make([]*Event, 0, 32)))
	h.dispatcher.flagSlice()
	if e, ok := w.TryNext(); !ok || e.Op != Lagged || e.PrevRevision != 1 {
		t.Errorf("received %+v, %v; want what was lost, from 1", e, ok)
	}
}
