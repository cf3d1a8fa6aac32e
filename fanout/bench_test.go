package fanout

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const burst = 64 // events between two flushes

// bursts pushes b.N bursts of changes, made beforehand so that only pushing and
// flushing is timed.
func bursts(b *testing.B, r *Ring, after func()) {
	b.Helper()
	const chunk = 64 // bursts; few enough that their events are still in the cache
	revision := uint64(0)
	b.ResetTimer()
	for done := 0; done < b.N; done += chunk {
		b.StopTimer()
		events := make([]Event, chunk*burst)
		for i := range events {
			revision++
			events[i] = Event{Key: "app.color", Op: Put, Revision: revision}
		}
		b.StartTimer()
		for i := range min(chunk, b.N-done) {
			for j := range burst {
				r.Push(&events[i*burst+j])
			}
			r.Flush()
			after()
		}
	}
	b.StopTimer()
	perEvent := float64(b.Elapsed()) / float64(b.N*burst)
	b.ReportMetric(perEvent, "ns/event")
}

// BenchmarkNotifyAlone is what a change costs the writer with nobody reading.
func BenchmarkNotifyAlone(b *testing.B) {
	b.ReportAllocs()
	bursts(b, newTestRing(b, DefaultSlots), func() {})
}

// BenchmarkNotify is what a change costs the writer while a dispatcher is awake
// and takes the events out.
func BenchmarkNotify(b *testing.B) {
	b.ReportAllocs()
	h := &harness{ring: newTestRing(b, DefaultSlots), registry: newTestRegistry(b, RegistryOptions{})}
	h.join(b, DispatcherOptions{Spin: MaxSpin})
	h.run(b)
	bursts(b, h.ring, func() {})
	b.ReportMetric(float64(h.registry.Stats().Lost)/float64(b.N*burst), "lost/event")
}

// BenchmarkDeliver1000 delivers to a thousand watchers of one key, each with a
// consumer of its own that waits in Next, and loses nothing.
func BenchmarkDeliver1000(b *testing.B) {
	const watchers = 1000
	h := &harness{ring: newTestRing(b, DefaultSlots), registry: newTestRegistry(b, RegistryOptions{Buffer: burst})}
	h.join(b, DispatcherOptions{})
	h.run(b)
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	var consumers sync.WaitGroup
	var behind atomic.Int64 // events of the burst that are still to be received
	received := make(chan struct{}, 1)
	for range watchers {
		w := h.watchKey(b, "app.color")
		consumers.Go(func() {
			for n := int64(1); ; n++ {
				if _, err := w.Next(ctx); err != nil {
					return
				}
				if n%burst == 0 && behind.Add(-burst) == 0 {
					received <- struct{}{}
				}
			}
		})
	}
	behind.Store(watchers * burst)
	bursts(b, h.ring, func() {
		<-received
		behind.Store(watchers * burst)
	})
	b.ReportMetric(float64(watchers*burst*b.N)/b.Elapsed().Seconds(), "deliveries/s")
	h.stop()
	consumers.Wait()
	if dropped := h.registry.Stats().Dropped; dropped > 0 {
		b.Fatalf("%d events were dropped", dropped)
	}
}
