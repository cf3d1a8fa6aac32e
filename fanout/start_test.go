package fanout

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestStart: what was published before the watch is not received, though the
// dispatcher may come to it only later; what is published after is.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 64, RegistryOptions{})
		early := h.watchKey(t, "a")
		h.put("a", "a")
		h.push("a") // staged is not published
		key, pattern := h.watchKey(t, "a"), h.watch(t, ">")
		h.ring.Flush()
		h.put("a")
		h.run(t)
		wantDrain(t, early, 1, 2, 3, 4)
		wantDrain(t, key, 3, 4)
		wantDrain(t, pattern, 3, 4)
		for w, want := range map[*Watcher]uint64{early: 0, key: 2, pattern: 2} {
			if w.Start() != want {
				t.Errorf("Start is %d, want %d", w.Start(), want)
			}
		}
	})
}

// TestStartHammer registers while the writer is at work. The first thing that a
// watcher receives follows its start exactly, the start lies between what had
// been published before and after, and the events that follow leave no hole.
func TestStartHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const registrars, rounds = 3, 600
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("an event does not come"))
		defer cancel()
		h := newHarness(t, 256, RegistryOptions{})
		h.run(t)
		var staged atomic.Uint64 // revision that may be published
		done := make(chan struct{})
		var writer, wg sync.WaitGroup
		writer.Go(func() {
			for revision := uint64(1); ; revision++ {
				staged.Store(revision)
				h.ring.Push(change("a", revision))
				h.ring.Flush()
				select {
				case <-done:
					return
				default:
					runtime.Gosched()
				}
			}
		})
		for i := range registrars {
			wg.Go(func() {
				for range rounds {
					published := h.ring.Revision()
					var w *Watcher
					if i == 0 {
						w = h.watch(t, ">", WithBuffer(8))
					} else {
						w = h.watchKey(t, "a", WithBuffer(8))
					}
					if start := w.Start(); start < published || start > staged.Load() {
						t.Errorf("Start is %d, want %d to %d", start, published, staged.Load())
					}
					s := tally{through: w.Start()}
					for s.events < 3 {
						e, err := w.Next(ctx)
						if err == nil {
							err = s.add(e)
						}
						if err != nil {
							t.Errorf("a watch that started at %d: %v", w.Start(), err)
							break
						}
					}
					w.Stop()
				}
			})
		}
		wg.Wait()
		close(done)
		writer.Wait()
	})
}

// TestBeginKnowsGapsBelowItsStart: a gap that a new watcher counts as known must
// lie at or below its start, or nobody would ever tell it. Here gap n ends at
// revision n.
func TestBeginKnowsGapsBelowItsStart(t *testing.T) {
	h := newHarness(t, 64, RegistryOptions{})
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				h.put("a")
				h.registry.epoch.Store(h.revision)
			}
		}
	})
	for range 100_000 {
		w := &watcher{registry: h.registry}
		if err := w.begin(h.registry); err != nil || w.epoch > w.above {
			t.Errorf("a watcher that starts at %d knows of the gap at %d; %v", w.above, w.epoch, err)
			break
		}
	}
	close(done)
	writer.Wait()
}

// TestLossBeforeRun: the dispatcher starts when the ring has lost some already.
// Who watched from the beginning is told, also where history is cut off.
func TestLossBeforeRun(t *testing.T) {
	for _, c := range []struct {
		after uint64
		want  []int
	}{
		{0, []int{-1, -6, 7, 8, 9, 10}},
		{4, []int{-5, -6, 7, 8, 9, 10}},
		{6, []int{7, 8, 9, 10}},
		{8, []int{9, 10}},
		{10, nil},
		{12, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &harness{ring: newTestRing(t, 4), registry: newTestRegistry(t, RegistryOptions{})}
			early := h.watch(t, ">")
			h.put("a", "a", "a", "a", "a", "a", "a", "a", "a", "a")
			h.join(t, DispatcherOptions{After: c.after, Spin: -1})
			joined := h.watch(t, ">")
			if want := max(10, c.after); joined.Start() != want {
				t.Errorf("after %d: a watch starts at %d, want %d", c.after, joined.Start(), want)
			}
			h.run(t)
			wantDrain(t, early, c.want...)
			wantDrain(t, joined)
			h.put("a", "a", "a")
			want := []int{11, 12, 13}
			if c.after > 10 {
				want = want[c.after-10:] // revisions up to After are history, also those to come
			}
			wantDrain(t, early, want...)
			wantDrain(t, joined, want...)
		})
	}
}
