package fanout

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// TestCatchUpReady: a consumer that selects on Ready and drains is told of
// history, and then of what comes.
func TestCatchUpReady(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		h.put("a", "a", "a")
		synctest.Wait()
		w := h.watchKey(t, "a", FromRevision(2))
		<-w.Ready()
		wantEvents(t, drain(w), 2, 3)
		h.put("a")
		<-w.Ready()
		wantEvents(t, drain(w), 4)
		w.Stop()
		<-w.Ready()
		if w.Err() != ErrClosed {
			t.Errorf("Err is %v", w.Err())
		}
	})
}

// TestCatchUpEnds: whoever ends, a watcher that is still behind ends properly.
func TestCatchUpEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStateful(t, 64)
		s.run(t)
		for s.revision < 5 {
			s.revision++
			s.write(change(fmt.Sprint("k", s.revision), s.revision))
		}
		s.ring.Flush()
		ctx, cancel := context.WithCancelCause(t.Context())
		byContext, err := s.registry.Watch(ctx, ">", WithInitial())
		if err != nil {
			t.Fatal(err)
		}
		byStop, byDispatcher := s.watch(t, ">", WithInitial()), s.watch(t, ">", FromRevision(3))
		byContext.TryNext()
		byStop.TryNext()
		cause := errors.New("the request is over")
		cancel(cause)
		byStop.Stop()
		synctest.Wait()
		if e, ok := byContext.TryNext(); ok || byContext.Err() != cause {
			t.Errorf("after its context: %+v, %v", e, byContext.Err())
		}
		if e, ok := byStop.TryNext(); ok || byStop.Err() != ErrClosed {
			t.Errorf("after Stop: %+v, %v", e, byStop.Err())
		}
		if n := s.open.Load(); n != 0 {
			t.Errorf("%d snapshots were not closed", n)
		}
		s.stop()
		wantEvents(t, drain(byDispatcher), 3, 4, 5) // what there was may still be taken
		if _, err := byDispatcher.Next(t.Context()); err != ErrClosed {
			t.Errorf("after the dispatcher's end: %v", err)
		}
	})
}

// TestCatchUpOvertaken: a consumer that does not come is overtaken, and told.
func TestCatchUpOvertaken(t *testing.T) {
	bubble(t, 4, func(t *testing.T, h *harness) {
		h.put("a", "a")
		w, cancelled := h.watchKey(t, "a", FromRevision(1)), h.watchKey(t, "a", FromRevision(1), WithPolicy(Cancel))
		h.put("a", "a", "a", "a")
		wantDrain(t, w, -1, -2, 3, 4, 5, 6)
		h.put("a")
		wantDrain(t, w, 7)
		wantDrain(t, cancelled)
		if !errors.Is(cancelled.Err(), ErrLagged) {
			t.Errorf("Err is %v, want ErrLagged", cancelled.Err())
		}
	})
}

// TestStopWithinTheState: Stop does not wait until the rest of the state is read.
func TestStopWithinTheState(t *testing.T) {
	const keys = 1000
	var w *Watcher
	var stop sync.WaitGroup
	read, closed := 0, 0
	next := func() *Event {
		switch read++; {
		case read == 2:
			stop.Go(w.Stop)
			for w.Err() == nil {
				runtime.Gosched()
			}
		case read > keys:
			return nil
		}
		return change("a", 1)
	}
	h := newHarness(t, 16, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
		return Snapshot{Revision: 1, Next: next, Close: func() { closed++ }}, nil
	}})
	w = h.watchKey(t, "a", WithInitial())
	if n := len(drain(w)); n != 1 {
		t.Errorf("%d entries were received, stopped while the second was read", n)
	}
	stop.Wait()
	if read != 2 || closed != 1 {
		t.Errorf("%d of %d entries were read, and the state was closed %d times", read, keys, closed)
	}
}

// TestStartRefused: what conflicts, or cannot be had, is refused by name and
// registers nothing.
func TestStartRefused(t *testing.T) {
	h := newHarness(t, 4, RegistryOptions{})
	unbound := newTestRegistry(t, RegistryOptions{})
	refused := errors.New("no state today")
	failing := &harness{ring: h.ring, registry: newTestRegistry(t, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) { return Snapshot{}, refused }})}
	failing.join(t, DispatcherOptions{})
	closed := 0
	empty := &harness{ring: h.ring, registry: newTestRegistry(t, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
		return Snapshot{Close: func() {
			closed++
			panic("boom") // the refusal is for what was wrong first
		}}, nil
	}})}
	empty.join(t, DispatcherOptions{})
	h.put("a", "a", "a", "a", "a", "a") // 3 to 6 are held
	for _, c := range []struct {
		name    string
		r       *Registry
		options []WatchOption
		want    error
	}{
		{"both", h.registry, []WatchOption{FromRevision(5), WithInitial()}, ErrBadOption},
		{"no snapshot", h.registry, []WatchOption{WithInitial()}, ErrBadOption},
		{"snapshot fails", failing.registry, []WatchOption{WithInitial()}, refused},
		{"snapshot without Next", empty.registry, []WatchOption{WithInitial()}, ErrBadOption},
		{"no dispatcher", unbound, []WatchOption{FromRevision(5)}, ErrBadOption},
		{"conflated buffer", h.registry, []WatchOption{WithPolicy(Conflate), WithBuffer(3)}, ErrBadOption},
		{"no such policy", h.registry, []WatchOption{WithPolicy(Cancel + 1)}, ErrBadOption},
		{"no operation", h.registry, []WatchOption{WithOps()}, ErrBadOption},
		{"control operation", h.registry, []WatchOption{WithOps(Put, Lagged)}, ErrBadOption},
		{"nil option", h.registry, []WatchOption{nil}, ErrBadOption},
	} {
		if _, err := c.r.WatchKey(t.Context(), "a", c.options...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if closed != 1 {
		t.Errorf("a Snapshot without Next was closed %d times", closed)
	}
	_, err := h.registry.WatchKey(t.Context(), "a", FromRevision(2))
	var compacted *CompactedError
	if !errors.As(err, &compacted) || *compacted != (CompactedError{Revision: 2, Oldest: 3}) {
		t.Errorf("from 2: %v", err)
	}
	h.wantLen(t, 0)
}

// TestResumeAfterReset: what lies below a replaced state cannot be started from.
func TestResumeAfterReset(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		h.put("a", "a")
		h.revision = 10
		h.ring.Reset(10)
		h.put("a")
		_, err := h.registry.WatchKey(t.Context(), "a", FromRevision(10))
		var compacted *CompactedError
		if !errors.As(err, &compacted) || compacted.Oldest != 11 {
			t.Errorf("from 10: %v", err)
		}
		wantDrain(t, h.watchKey(t, "a", FromRevision(11)), 11)
	})
}

// TestResumeFromAnEarlierRun: a producer whose state has a revision already says so first.
func TestResumeFromAnEarlierRun(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		early := h.watchKey(t, "a", FromRevision(5))
		h.revision = 10
		h.ring.Reset(10)
		h.put("a")
		wantDrain(t, early, 10, 11)
		_, err := h.registry.WatchKey(t.Context(), "a", FromRevision(5))
		var compacted *CompactedError
		if !errors.As(err, &compacted) || compacted.Oldest != 11 {
			t.Errorf("from 5: %v", err)
		}
	})
}

// TestOps: other operations are left out, also of a batch and of history, and count nowhere.
func TestOps(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		deletes := h.watch(t, ">", WithOps(Delete, Expire))
		group := batchOf(1, "a", "b", "c")
		group[1].Op = Delete
		for _, e := range group {
			h.ring.Push(e)
		}
		h.revision = 1
		h.put("a")
		wantDrain(t, deletes, 1)
		past := h.watch(t, ">", WithOps(Delete, Expire), FromRevision(1))
		wantDrain(t, past, 1)
		for _, s := range h.registry.Slowest(10) {
			if s.Matched != 1 || s.Delivered != 1 {
				t.Errorf("the books say %+v", s)
			}
		}
	})
}

// TestInitialWhileAllIsReplaced: between the state and the first look at the ring
// everything published is evicted, and what replaces it is not published. There
// is a loss, of which the dispatcher knows nothing: it had read it all.
func TestInitialWhileAllIsReplaced(t *testing.T) {
	h := &harness{ring: newTestRing(t, 4)}
	h.registry = newTestRegistry(t, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
		at := h.revision
		h.put("a", "a") // read by the dispatcher
		h.dispatcher.deliver(h.dispatcher.cursor.Poll(make([]*Event, 0, 8)))
		h.push("a", "a", "a", "a", "a")
		return Snapshot{Revision: at, Next: func() *Event { return nil }}, nil
	}})
	h.join(t, DispatcherOptions{})
	h.put("a")
	w := h.watchKey(t, "a", WithInitial())
	if e, ok := w.TryNext(); !ok || e.Op != Progress || e.Revision != 1 {
		t.Fatalf("the state ends with %+v", e)
	}
	wantEvents(t, drain(w))
	h.ring.Flush()
	h.dispatcher.deliver(h.dispatcher.cursor.Poll(make([]*Event, 0, 8)))
	wantEvents(t, drain(w), -2, -4, 5, 6, 7, 8)
}

// TestResumeInReplay: history that is still to be replayed, which the dispatcher
// leaves out, comes to those who asked for it.
func TestResumeInReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{ring: newTestRing(t, 64), registry: newTestRegistry(t, RegistryOptions{})}
		h.join(t, DispatcherOptions{After: 5, Spin: -1})
		h.run(t)
		h.put("a", "a", "a")
		w := h.watchKey(t, "a", FromRevision(2))
		wantDrain(t, w, 2, 3)
		received := make(chan *Event)
		go func() {
			defer close(received)
			for range 3 {
				e, err := w.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				received <- e
			}
		}()
		synctest.Wait()
		h.put("a", "a") // still history
		wantEvents(t, []*Event{<-received, <-received}, 4, 5)
		synctest.Wait()
		h.put("a")
		wantEvents(t, []*Event{<-received}, 6)
	})
}

// TestCancelAfterTheEnd: what a watcher that catches up has lost ends it as lagged,
// also if the dispatcher ended before it found out.
func TestCancelAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 4, RegistryOptions{})
		h.put("a", "a")
		w := h.watch(t, ">", FromRevision(1), WithPolicy(Cancel))
		h.put("a", "a", "a", "a", "a", "a")
		h.run(t)
		h.stop()
		if e, err := w.Next(t.Context()); !errors.Is(err, ErrLagged) {
			t.Fatalf("Next gave %+v, %v, want ErrLagged", e, err)
		}
		if !errors.Is(w.Err(), ErrLagged) {
			t.Fatalf("Err is %v, want ErrLagged", w.Err())
		}
	})
}
