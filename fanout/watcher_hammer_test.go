package fanout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestStopHammer stops watchers from several goroutines while events flow and a
// consumer waits. Whoever returns from Stop finds nothing more.
func TestStopHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		h := newHarness(t, 64, RegistryOptions{}).run(t)
		done := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					h.put("a", "b")
					h.putBatch("a", "b")
					runtime.Gosched()
				}
			}
		})
		for range 500 {
			w := h.watchKey(t, "a")
			var wg sync.WaitGroup
			wg.Go(func() {
				var l ledger
				for e := range w.Events() {
					l.add(t, e)
				}
				if !errors.Is(w.Err(), ErrClosed) {
					t.Errorf("Err is %v, want ErrClosed", w.Err())
				}
			})
			for range 3 {
				wg.Go(func() {
					w.Stop()
					if e, ok := w.TryNext(); ok {
						t.Errorf("received revision %d after Stop", e.Revision)
					}
				})
			}
			wg.Wait()
		}
		close(done)
		writer.Wait()
		h.wantLen(t, 0)
	})
}

// TestNeighboursHammer: watchers of the same key, or of patterns that match it,
// come and go all the time; those that stay miss nothing.
func TestNeighboursHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const last = 4000
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("an event does not come"))
		defer cancel()
		h := newHarness(t, 1024, RegistryOptions{Buffer: 64}).run(t)
		filters := []string{"a.b", "a.b", "a.b", "*.b", "a.>", ">"}
		var reached [12]atomic.Uint64
		var staying, churn sync.WaitGroup
		done := make(chan struct{})
		stay := func(i int) {
			w := h.watch(t, filters[i%len(filters)])
			staying.Go(func() {
				defer w.Stop()
				var s tally
				for s.through < last {
					e, err := w.Next(ctx)
					if err == nil {
						err = s.add(e)
					}
					if err != nil || s.gone > 0 {
						t.Errorf("watcher %d after revision %d: %v, %d lost", i, s.through, err, s.gone)
						cancel()
						return
					}
					reached[i].Store(s.through)
				}
			})
		}
		pass := func() {
			w := h.watch(t, filters[rand.N(len(filters))], WithBuffer(1))
			for range rand.N(3) {
				runtime.Gosched()
				w.TryNext()
			}
			w.Stop()
		}
		for i := range reached { // those that stay stand between others
			defer h.watch(t, filters[i%len(filters)]).Stop()
			stay(i)
		}
		for range 3 {
			churn.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						pass()
					}
				}
			})
		}
		for h.revision < last {
			for range 1 + rand.N(32) {
				if h.revision < last {
					h.push("a.b")
				}
			}
			h.ring.Flush()
			for i := range reached {
				for reached[i].Load() < h.revision && ctx.Err() == nil {
					runtime.Gosched()
				}
			}
		}
		staying.Wait()
		close(done)
		churn.Wait()
	})
}

// TestOvertakenHammer: the writer laps the dispatcher over and over. Every
// watcher accounts for every revision, whether it is busy, slow or silent.
func TestOvertakenHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const last = 60_000
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("an event or a marker does not come"))
		defer cancel()
		h := newHarness(t, 16, RegistryOptions{}).run(t)
		witness := h.watch(t, ">", WithBuffer(MaxBuffer)) // loses what the dispatcher loses, no more
		var busy, silent []*Watcher
		for i := range 2 * walkSlice {
			silent = append(silent, h.watchKey(t, fmt.Sprint("silent", i)))
			if i%100 == 0 {
				busy = append(busy, h.watchKey(t, "a", WithBuffer(1+i/10)), h.watch(t, "*", WithBuffer(1+i/10)))
			}
		}
		var consumers sync.WaitGroup
		for i, w := range busy {
			consumers.Go(func() {
				var s tally
				for s.through < last {
					e, err := w.Next(ctx)
					if err == nil {
						err = s.add(e)
					}
					if err != nil {
						t.Errorf("watcher %d after revision %d: %v", i, s.through, err)
						return
					}
				}
				if err := s.whole(last); err != nil {
					t.Errorf("watcher %d: %v", i, err)
				}
				if lost := h.registry.Stats().Lost; s.gone != lost+w.Dropped() {
					t.Errorf("watcher %d: markers cover %d, the dispatcher lost %d and the watcher %d", i, s.gone, lost, w.Dropped())
				}
			})
		}
		for h.revision < last {
			for range 1 + rand.N(40) {
				if h.revision < last {
					h.push("a")
				}
			}
			h.ring.Flush()
			if rand.N(2) == 0 {
				runtime.Gosched()
			}
		}
		consumers.Wait()
		var seen ledger
		for seen.through < last {
			e, err := witness.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			seen.add(t, e)
		}
		h.stop() // by then everyone has been told
		if len(seen.ranges) == 0 {
			t.Fatal("the dispatcher was never overtaken")
		}
		for i, w := range silent {
			var l ledger
			for _, e := range drain(w) {
				l.add(t, e)
			}
			for _, r := range seen.ranges {
				if !l.covers(r[0]) || !l.covers(r[1]) {
					t.Fatalf("silent watcher %d was told of %v, not of %v", i, l.ranges, r)
				}
			}
		}
	})
}

// TestReadyBesideStop: what a consumer needs to wait is made while others end the
// watcher.
func TestReadyBesideStop(t *testing.T) {
	h := newHarness(t, 64, RegistryOptions{}).run(t)
	for range 2000 {
		w := h.watchKey(t, "a")
		var wg sync.WaitGroup
		wg.Go(func() { <-w.Ready() })
		wg.Go(w.Stop)
		wg.Wait()
	}
	h.wantLen(t, 0)
}
