package fanout

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestFrontHammer: producers that never wait, and a reader that parks all the
// time. Whenever they pause, everything is published. Of a large ring the reader
// gets every event once; of a small one, where both the front and the ring lose,
// what is missing is told in its place.
func TestFrontHammer(t *testing.T) {
	for _, slots := range []int{16, 1 << 14} {
		t.Run(fmt.Sprintf("slots=%d", slots), func(t *testing.T) {
			eachGOMAXPROCS(t, func(t *testing.T) { hammerFront(t, slots) })
		})
	}
}

func hammerFront(t *testing.T, slots int) {
	const producers, phases = 4, 150
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience,
		fmt.Errorf("the reader sleeps although there is something to read"))
	defer cancel()
	r := newTestRing(t, slots)
	f := newTestFront(t, r)
	lossless := slots > 1000

	var through atomic.Uint64 // what the reader has read
	var order tally
	origin := newStrands()
	last := uint64(0) // set before the event that ends the reader
	var reader sync.WaitGroup
	defer reader.Wait()
	defer cancel()
	reader.Go(func() {
		defer cancel()
		c := r.Cursor(0)
		defer c.Close()
		buf := make([]*Event, 0, 8)
		for {
			events, err := c.Next(ctx, buf[:0])
			if err != nil {
				if t.Failed() {
					return
				}
				t.Errorf("at revision %d of %d: %v", order.through, r.Revision(), err)
				return
			}
			for _, e := range events {
				if e.Key == "end" {
					if err := order.whole(last); err != nil {
						t.Error(err)
					}
					return
				}
				err := order.add(e)
				if err == nil {
					err = origin.add(e)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			through.Store(order.through)
		}
	})

	var list [producers]*Producer
	var reached [producers]uint64
	for i := range list {
		list[i] = newTestProducer(t, f)
	}
	var pushed atomic.Uint64
	for range phases {
		var wg sync.WaitGroup
		for i, p := range list {
			wg.Go(func() {
				for range 1 + rand.N(30) {
					for range 1 + rand.N(3) {
						reached[i]++
						if rand.N(50) == 0 {
							p.Reset(reached[i])
							pushed.Add(1)
							continue
						}
						keys := [5]string{}
						group := batchOf(reached[i], keys[:1+rand.N(5)]...)
						for _, e := range group {
							p.Push(e)
						}
						pushed.Add(uint64(len(group)))
					}
					p.Flush()
				}
			})
		}
		wg.Wait()
		if n := f.waitingBatches(); n > 0 || f.busy.Load() || f.events.Load() != 0 || f.bytes.Load() != 0 {
			t.Fatalf("with nobody at work %d batches are left; busy %v, %d events and %d bytes counted",
				n, f.busy.Load(), f.events.Load(), f.bytes.Load())
		}
		if r.Revision() != f.revision {
			t.Fatalf("the ring is published up to %d of %d", r.Revision(), f.revision)
		}
		for lossless && through.Load() < f.revision && ctx.Err() == nil {
			runtime.Gosched()
		}
	}
	last = f.revision
	end := newTestProducer(t, f)
	end.Push(change("end", 1))
	end.Flush()
	reader.Wait()

	for i, p := range list {
		if err := origin.reach(p.source, reached[i], 0); err != nil {
			t.Errorf("at the end: %v", err)
		}
	}
	received := uint64(order.events - origin.markers)
	if lossless && (received != pushed.Load() || origin.markers > 0) {
		t.Errorf("received %d events of %d, and %d markers", received, pushed.Load(), origin.markers)
	}
	if received+f.Dropped() > pushed.Load() {
		t.Errorf("received %d events and dropped %d, and only %d were pushed", received, f.Dropped(), pushed.Load())
	}
}

// TestFrontLeavesNothingBehind: a producer hands in a batch at about the moment
// when the one at work leaves, and then nobody comes any more. With the front's last
// look ahead of the end of its work, that shows within some hundred rounds, beside the
// race detector some thousand.
func TestFrontLeavesNothingBehind(t *testing.T) {
	const rounds = 6000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	f := newTestFront(t, newTestRing(t, 64))
	one, two := newTestProducer(t, f), newTestProducer(t, f)
	var round, done atomic.Uint64
	await := func(n *atomic.Uint64, least uint64) {
		for n.Load() < least {
			for spins := 0; spins < 5000 && n.Load() < least; spins++ {
			}
			runtime.Gosched()
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer round.Store(rounds)
	wg.Go(func() {
		for n := uint64(1); n <= rounds; n++ {
			await(&round, n)
			for range n % 300 { // a little later each time
				round.Load()
			}
			two.put(n)
			done.Store(n)
		}
	})
	for n := uint64(1); n <= rounds; n++ {
		round.Store(n)
		one.put(n)
		await(&done, n)
		if f.waiting.Load() != nil {
			t.Fatalf("in round %d a batch was left behind", n)
		}
	}
}

// TestFrontDropHammer: the one at work stops again and again until something is
// dropped. The ring itself loses nothing here, so the sums are exact: each event
// was received or counted, and each loss has a marker of its producer.
func TestFrontDropHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const producers, flushes = 3, 2000
		r := newTestRing(t, 1<<17)
		f := newTestFront(t, r)
		f.slots, f.maxBytes = 32, 24*eventOverhead
		var reached [producers]uint64
		var pushed, done atomic.Uint64
		var wg sync.WaitGroup
		wg.Go(func() {
			for done.Load() < producers {
				if f.busy.CompareAndSwap(false, true) {
					dropped := f.Dropped()
					for f.Dropped() == dropped && done.Load() < producers {
						runtime.Gosched()
					}
					f.resume()
				}
				runtime.Gosched()
			}
		})
		for i := range reached {
			p := newTestProducer(t, f)
			wg.Go(func() {
				for range flushes {
					for range 1 + rand.N(2) {
						reached[i]++
						keys := [5]string{}
						group := batchOf(reached[i], keys[:1+rand.N(5)]...)
						for _, e := range group {
							p.Push(e)
						}
						pushed.Add(uint64(len(group)))
					}
					p.Flush()
					runtime.Gosched()
				}
				done.Add(1)
			})
		}
		wg.Wait()
		var order tally
		origin := newStrands()
		for _, e := range r.Cursor(0).pollAll() {
			if e.Op == Lagged && e.Source == 0 {
				t.Fatalf("the ring lost revisions %d to %d", e.PrevRevision, e.Revision)
			}
			if err := order.add(e); err != nil {
				t.Fatal(err)
			}
			if old := origin.of[e.Source]; old != nil && e.Op != Lagged && e.SourceRevision > old.through+1 {
				t.Fatalf("producer %d goes from revision %d to %d with no marker of its own", e.Source, old.through, e.SourceRevision)
			}
			if err := origin.add(e); err != nil {
				t.Fatal(err)
			}
			if e.Op == Lagged { // it tells how far its producer had come
				if err := origin.reach(e.Source, e.SourceRevision, 1); err != nil {
					t.Fatalf("marker of revision %d: %v", e.Revision, err)
				}
			}
		}
		if err := order.whole(f.revision); err != nil {
			t.Fatal(err)
		}
		for i, through := range reached {
			if err := origin.reach(uint16(i+1), through, 0); err != nil {
				t.Errorf("at the end: %v", err)
			}
		}
		received := uint64(order.events - origin.markers)
		if received+f.Dropped() != pushed.Load() || f.Dropped() == 0 || received == 0 {
			t.Errorf("received %d events and dropped %d of %d", received, f.Dropped(), pushed.Load())
		}
	})
}
