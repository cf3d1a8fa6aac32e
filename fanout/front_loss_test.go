package fanout

import (
	"slices"
	"testing"
	"testing/synctest"
)

// TestFrontBound: what waits for a producer that is not running is bounded by the
// ring's slots and bytes; what is lost is counted, and told at its place.
func TestFrontBound(t *testing.T) {
	const size = 1000
	for name, o := range map[string]RingOptions{
		"slots": {Slots: 4},
		"bytes": {Slots: 1024, MaxBytes: 4 * (eventOverhead + 1 + size)},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRing(o)
			if err != nil {
				t.Fatal(err)
			}
			f := newTestFront(t, r)
			one, two := newTestProducer(t, f), newTestProducer(t, f)
			put := func(p *Producer, revision uint64) {
				e := change("k", revision)
				e.Value = make([]byte, size)
				p.Push(e)
				p.Flush()
			}
			c := r.Cursor(0)
			f.hold()
			put(one, 1)
			put(two, 1)
			put(one, 2)
			put(two, 2)
			for revision := uint64(3); revision < 1000; revision++ {
				put(one, revision) // nothing of it fits
			}
			if n, bytes := f.events.Load(), f.bytes.Load(); n != 4 || bytes > r.maxBytes {
				t.Fatalf("%d events and %d bytes wait", n, bytes)
			}
			if n := f.waitingBatches(); n != 5 {
				t.Fatalf("%d batches wait, want four and a marker", n)
			}
			if f.Dropped() != 997 {
				t.Fatalf("Dropped is %d, want 997", f.Dropped())
			}
			f.round() // now there is room again, and the first is still at work
			put(one, 1000)
			put(two, 3)
			put(two, 4)
			put(two, 5)
			put(one, 1001) // no room; must not join the marker in front of 1000
			put(two, 6)    // the same
			put(one, 1002)
			if n := f.waitingBatches(); n != 6 {
				t.Fatalf("%d batches wait, want four and two markers", n)
			}
			f.resume()
			put(one, 1003)
			var got []*Event
			for pos := r.tail.Load(); pos < r.head.Load(); pos++ {
				got = append(got, c.load(pos))
			}
			want := []string{"1.1", "2.1", "1.2", "2.2", "lagged 1.999", "1.1000", "2.3", "2.4", "2.5", "lagged 1.1002", "lagged 2.6", "1.1003"}
			if held := r.Len(); held < 4 || !slices.Equal(origins(got), want[len(want)-held:]) {
				t.Fatalf("the ring holds %v, want the end of %v", origins(got), want)
			}
			if f.Dropped() != 1000 || f.events.Load() != 0 || f.bytes.Load() != 0 {
				t.Fatalf("Dropped is %d, %d events and %d bytes wait; want 1000 and none", f.Dropped(), f.events.Load(), f.bytes.Load())
			}
		})
	}
}

// waitingBatches counts what is on the list, while nobody is at work.
func (f *Front) waitingBatches() (n int) {
	for b := f.waiting.Load(); b != nil; b = b.next {
		n++
	}
	return n
}

// TestFrontMarkerPlace: the marker of a producer stands behind what it pushed
// earlier and ahead of what it pushed later.
func TestFrontMarkerPlace(t *testing.T) {
	r := newTestRing(t, 16)
	f := newTestFront(t, r)
	one, two := newTestProducer(t, f), newTestProducer(t, f)
	c := r.Cursor(0)
	large := func(p *Producer, revision uint64, events int) {
		for _, e := range batchOf(revision, make([]string, events)...) {
			p.Push(e)
		}
		p.Flush()
	}
	f.hold()
	large(one, 1, 2)
	large(two, 1, 2)
	large(one, 2, 15) // too large, by now
	large(one, 3, 1)  // fits
	large(one, 4, 15)
	large(one, 5, 15)
	large(two, 2, 1)
	if f.Dropped() != 45 {
		t.Fatalf("Dropped is %d, want 45", f.Dropped())
	}
	f.resume()
	wantOrigins(t, c, "1.1", "1.1", "2.1", "2.1", "lagged 1.2", "1.3", "lagged 1.5", "2.2")
}

// TestFrontSizes: what is staged is bounded too, and a single revision may be
// larger than MaxBytes, as in a ring.
func TestFrontSizes(t *testing.T) {
	const size = 1000
	r, err := NewRing(RingOptions{Slots: 4, MaxBytes: size})
	if err != nil {
		t.Fatal(err)
	}
	f := newTestFront(t, r)
	p := newTestProducer(t, f)
	c := r.Cursor(0)
	push := func(events ...*Event) {
		for _, e := range events {
			e.Value = make([]byte, size)
			p.Push(e)
		}
	}
	push(change("a", 1))
	p.Flush()
	wantOrigins(t, c, "1.1")
	push(batchOf(2, "a", "b", "c")...)
	p.Flush()
	wantOrigins(t, c, "1.2", "1.2", "1.2")
	push(change("a", 3), change("a", 4))
	for revision := uint64(5); revision < 100; revision++ {
		push(change("a", revision))
		if n := len(p.staged.events); n > 0 {
			t.Fatalf("%d events are staged that cannot be published", n)
		}
	}
	p.Flush()
	wantOrigins(t, c, "lagged 1.99")
	p.put(100)
	for _, e := range batchOf(101, "a", "b", "c", "d", "e") {
		p.Push(e)
	}
	p.Flush()
	p.Flush() // publishes nothing
	p.Reset(102)
	wantOrigins(t, c, "1.100", "lagged 1.101", "reset 1.102")
	if f.Dropped() != 97+5 {
		t.Fatalf("Dropped is %d, want 102", f.Dropped())
	}
}

// TestFrontResetIsOfOne: it comes in order, and says nothing of what was lost of
// other producers.
func TestFrontResetIsOfOne(t *testing.T) {
	r := newTestRing(t, 4)
	f := newTestFront(t, r)
	one, two := newTestProducer(t, f), newTestProducer(t, f)
	c, late := r.Cursor(0), r.Cursor(0)
	one.put(1)
	two.put(1)
	two.Push(change("k", 2))
	two.Reset(5)
	wantOrigins(t, c, "1.1", "2.1", "2.2", "reset 2.5")
	one.put(2)
	wantOrigins(t, c, "1.2")
	two.put(6)
	one.put(3)
	if oldest := r.oldestStart(); oldest != 4 {
		t.Errorf("the ring is whole from %d on, want 4", oldest)
	}
	wantOrigins(t, late, "lagged 0.0", "reset 2.5", "1.2", "2.6", "1.3")
}

// TestConflateKeepsResetsOfEach: one producer's Reset does not supersede that of
// another.
func TestConflateKeepsResetsOfEach(t *testing.T) {
	bubble(t, 256, func(t *testing.T, h *harness) {
		f := newTestFront(t, h.ring)
		one, two := newTestProducer(t, f), newTestProducer(t, f)
		w := h.watch(t, ">", WithPolicy(Conflate))
		for revision := uint64(1); revision <= 40; revision++ { // enough for holes to be squeezed out
			one.put(3 * revision)
			one.Reset(3*revision + 1)
			two.Reset(revision)
		}
		wantDrain(t, w, 118, 119, 120)
		if c := w.inner.buf.more.conflate; len(c.places)+len(c.resets) != 0 {
			t.Errorf("with nothing held it remembers %v and %v", c.places, c.resets)
		}
	})
}

// TestFrontNumbersMarkers: a marker that a producer pushes stands at its place in the
// front's order, whatever its range is in the producer's.
func TestFrontNumbersMarkers(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		f, err := NewFront(h.ring)
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.Producer()
		if err != nil {
			t.Fatal(err)
		}
		w := h.watchKey(t, "a")
		p.Push(change("a", 100))
		p.Push(&Event{Op: Lagged, PrevRevision: 101, Revision: 105})
		p.Push(change("a", 106))
		p.Flush()
		synctest.Wait()
		got := drain(w)
		if len(got) != 3 || got[1].Op != Lagged || got[1].PrevRevision != 2 || got[1].Revision != 2 {
			t.Errorf("received %v", got)
		}
		if lost := h.registry.Stats().Lost; lost != 1 {
			t.Errorf("%d revisions are counted as lost", lost)
		}
	})
}
