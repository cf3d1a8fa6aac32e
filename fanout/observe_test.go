package fanout

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestObserve: each read that was delivered is told, with what it cost.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{ring: newTestRing(t, 64), registry: newTestRegistry(t, RegistryOptions{})}
		var got []Delivery
		h.join(t, DispatcherOptions{Spin: -1, Observe: func(d Delivery) { got = append(got, d) }})
		h.run(t)
		for _, w := range []*Watcher{h.watchKey(t, "a", WithBuffer(1)), h.watchKey(t, "a", WithBuffer(1)), h.watch(t, "*")} {
			defer w.Stop() // or the collector does
		}
		wantDelivery := func(want Delivery) {
			t.Helper()
			synctest.Wait()
			if len(got) != 1 || got[0] != want {
				t.Fatalf("observed %+v, want %+v", got, want)
			}
			got = nil
		}
		h.put("a", "a", "b")
		wantDelivery(Delivery{Events: 3, Offers: 3, Dropped: 2})
		e := change("b", 4)
		e.Time = time.Now().Add(-time.Minute)
		h.ring.Push(e)
		h.ring.Push(change("b", 5))
		h.ring.Flush()
		wantDelivery(Delivery{Events: 2, Offers: 1, Age: time.Minute})
		h.ring.Push(&Event{Key: "b", Op: Put, Revision: 6, Time: time.Now().Add(time.Hour)}) // another node's clock
		h.ring.Flush()
		wantDelivery(Delivery{Events: 1, Offers: 1})
	})
}

// TestObserverPanics: the panic is the owner's, out of Run, and by then everything has
// ended in order.
func TestObserverPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{ring: newTestRing(t, 64), registry: newTestRegistry(t, RegistryOptions{})}
		h.join(t, DispatcherOptions{Spin: -1, Observe: func(Delivery) { panic("boom") }})
		w := h.watchKey(t, "a")
		h.put("a")
		func() {
			defer func() {
				if p := recover(); p != "boom" {
					t.Errorf("Run panics with %v", p)
				}
			}()
			h.dispatcher.Run(t.Context())
		}()
		wantDrain(t, w, 1)
		if w.Err() != ErrClosed {
			t.Errorf("Err is %v", w.Err())
		}
		h.wantLen(t, 0)
	})
}
