package fanout

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"
	"weak"

	"pgregory.net/rapid"
)

// waitEmpty waits until no watcher is registered, for ends that the runtime
// carries out on goroutines of its own.
func (r *Registry) waitEmpty(t rapid.TB) {
	t.Helper()
	for end := time.Now().Add(patience); r.Len() > 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d watchers are still registered", r.Len())
		}
		runtime.GC()
	}
}

// TestAbandonedWatchers: who can not be received from any more is unregistered,
// also if it was used before and has events; under a context, under none.
func TestAbandonedWatchers(t *testing.T) {
	h := newHarness(t, 64, RegistryOptions{}).run(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	func() {
		for i := range 100 {
			w, err := h.registry.Watch(ctx, []string{"a", "*", ">", fmt.Sprint(i)}[i%4])
			if err != nil {
				t.Fatal(err)
			}
			w.Ready()
			h.put("a")
			if i%4 < 3 {
				if e, err := w.Next(t.Context()); err != nil || e.Revision != h.revision {
					t.Fatalf("Next gave %+v, %v", e, err)
				}
			}
			h.watchKey(t, "a")
		}
	}()
	h.registry.waitEmpty(t)
	h.wantLen(t, 0)
	h.put("a")
}

// TestAwaitedWatcherStays: a consumer that waits, and has nothing but the loop it
// waits in, keeps its watcher alive.
func TestAwaitedWatcherStays(t *testing.T) {
	h := newHarness(t, 64, RegistryOptions{}).run(t)
	got, ended := make(chan uint64), make(chan struct{}, 2)
	go func() {
		for e := range h.watchKey(t, "a").Events() {
			got <- e.Revision
			if e.Revision == 3 {
				break
			}
		}
		ended <- struct{}{}
	}()
	go func() {
		w := h.watchKey(t, "b")
		_, _ = w.Next(context.Background())
		ended <- struct{}{}
	}()
	for h.registry.Len() < 2 {
		runtime.Gosched()
	}
	h.watchKey(t, "c") // shows that the collector has done its work
	for want := uint64(1); want <= 3; want++ {
		h.awaitCollection(t, 2)
		h.put("a")
		if revision := <-got; revision != want {
			t.Fatalf("received revision %d, want %d", revision, want)
		}
		h.watchKey(t, "c")
	}
	h.put("b")
	<-ended
	<-ended
	h.registry.waitEmpty(t)
}

// awaitCollection collects until only that many watchers are left, and once
// more.
func (h *harness) awaitCollection(t *testing.T, left int) {
	t.Helper()
	for end := time.Now().Add(patience); h.registry.Len() > left; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d watchers are registered, want %d", h.registry.Len(), left)
		}
		runtime.GC()
	}
	runtime.GC()
	if n := h.registry.Len(); n != left {
		t.Fatalf("%d watchers are registered, want %d: one was taken from its consumer", n, left)
	}
}

// TestMatchesAreForgotten: watchers that an event of a read was for are let go,
// though a later one was for fewer.
func TestMatchesAreForgotten(t *testing.T) {
	h := newHarness(t, 64, RegistryOptions{})
	for _, pattern := range []string{"a.*", "a.*", "a.*", "b.*"} {
		w := h.watch(t, pattern)
		defer w.Stop() // or the collector does, and nothing matches
	}
	h.dispatcher.deliver([]*Event{change("a.b", 1), change("b.b", 2)})
	for _, w := range h.dispatcher.matches[:cap(h.dispatcher.matches)] {
		if w != nil {
			t.Fatalf("a watcher of %s is still referred to", w.filter)
		}
	}
}

// TestIdleDispatcherPinsNothing: events that the ring has dropped and everybody
// has received are let go, though the dispatcher may never again have as many
// at a time.
func TestIdleDispatcherPinsNothing(t *testing.T) {
	const slots = 4
	h := newHarness(t, slots, RegistryOptions{}).run(t)
	w := h.watch(t, ">")
	defer w.Stop()
	var gone [slots]weak.Pointer[Event]
	receive := func(n int) {
		for range n {
			if _, err := w.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range gone {
		h.revision++
		e := change("a", h.revision)
		gone[i] = weak.Make(e)
		h.ring.Push(e)
	}
	h.ring.Flush()
	receive(slots)
	for range slots {
		h.put("a")
		receive(1)
	}
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		runtime.GC()
		held := 0
		for _, p := range gone {
			if p.Value() != nil {
				held++
			}
		}
		if held == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d events are still held", held, slots)
		}
	}
}
