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
		const registrars, rounds = 3, 300
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
