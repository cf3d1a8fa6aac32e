package fanout

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestStopSnapshotHammer stops watchers at every stage of their state, which is read
// by whom it may be, beside two consumers and a writer. Next and Close are never at
// work together, and Close is called once; with Chan nothing comes behind Stop.
func TestStopSnapshotHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const entries = 5
		var opened, closed, at atomic.Int64 // at: the entry that is being read
		h := newHarness(t, 64, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
			opened.Add(1)
			read := 0            // by one at a time, which the race detector sees
			var busy atomic.Bool // until it is closed, or for ever
			return Snapshot{Next: func() *Event {
				if !busy.CompareAndSwap(false, true) {
					t.Error("an entry is read beside another, or behind the end")
				}
				defer busy.Store(false)
				read++
				at.Add(1)
				for range 3 {
					runtime.Gosched()
				}
				if read > entries {
					return nil
				}
				return change("a", 1)
			}, Close: func() {
				if !busy.CompareAndSwap(false, true) {
					t.Error("the state is closed while it is read, or twice")
				}
				closed.Add(1)
			}}, nil
		}}).run(t)
		defer h.keepPutting("a")()
		for round := range 500 {
			at.Store(0)
			w := h.watchKey(t, "a", WithInitial())
			var consumers sync.WaitGroup
			consumers.Go(func() {
				if round%2 == 0 {
					for range w.Events() {
					}
					return
				}
				for range w.Chan() {
				}
			})
			consumers.Go(func() {
				for w.Err() == nil {
					w.TryNext()
					runtime.Gosched()
				}
			})
			for target := rand.Int64N(entries + 2); at.Load() < target; {
				runtime.Gosched()
			}
			w.Stop()
			if round%2 > 0 {
				if e, ok := <-w.Chan(); ok {
					t.Errorf("received %+v behind Stop", e)
				}
			}
			consumers.Wait()
		}
		if opened.Load() != closed.Load() {
			t.Errorf("%d states were opened, %d closed", opened.Load(), closed.Load())
		}
		h.wantLen(t, 0)
	})
}
