package fanout

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// TestBetweenModel: what is handed over is all that was published in the range, or
// the answer is that it cannot have been. It must be all if the ring holds it.
func TestBetweenModel(t *testing.T) {
	whole, cut := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		slots := rapid.SampledFrom([]int{1, 2, 4, 16}).Draw(rt, "slots")
		ring, err := NewRing(RingOptions{Slots: slots})
		if err != nil {
			rt.Fatal(err)
		}
		var all []*Event // staged ones included
		published, revision, floor := uint64(0), uint64(0), uint64(0)
		rt.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				revision += rapid.Uint64Range(1, 3).Draw(t, "step")
				size := rapid.IntRange(1, 2).Draw(t, "batch")
				for i := range size {
					e := &Event{Op: Put, Key: "k", Revision: revision}
					if size > 1 {
						e.Batch, e.BatchSize = uint32(i), uint32(size)
					}
					ring.Push(e)
					all = append(all, e)
				}
			},
			"flush": func(*rapid.T) { ring.Flush(); published = revision },
			"reset": func(*rapid.T) {
				revision++
				ring.Reset(revision)
				published, floor = revision, revision
			},
			"ask": func(t *rapid.T) {
				through := rapid.Uint64Range(0, published).Draw(t, "through")
				after := rapid.Uint64Range(0, through).Draw(t, "after")
				var got, want []*Event
				for _, e := range all {
					if e.Revision > after && e.Revision <= through {
						want = append(want, e)
					}
				}
				complete := ring.Between(after, through, func(e *Event) { got = append(got, e) })
				if complete && !slices.Equal(got, want) {
					t.Fatalf("between %d and %d: %d events, want %d", after, through, len(got), len(want))
				}
				if complete && after < floor && through >= floor {
					t.Fatalf("between %d and %d: a reset at %d is passed over", after, through, floor)
				}
				// What the ring must hold: less than its slots, behind a reset.
				later := 0
				for _, e := range all {
					if e.Revision > after {
						later++
					}
				}
				if !complete && after >= floor && later < slots/2 {
					t.Fatalf("between %d and %d: not all, though only %d events came since, of %d slots", after, through, later, slots)
				}
				if complete {
					whole++
				} else {
					cut++
				}
			},
		})
	})
	if whole == 0 || cut == 0 {
		t.Errorf("%d answers were whole and %d not", whole, cut)
	}
}

// TestBetweenWhileAllIsReplaced: where everything published is evicted and what comes
// in its place is staged, nothing can be told.
func TestBetweenWhileAllIsReplaced(t *testing.T) {
	ring, err := NewRing(RingOptions{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	for revision := uint64(1); revision <= 8; revision++ {
		ring.Push(&Event{Op: Put, Key: "k", Revision: revision})
		if revision == 2 {
			ring.Flush()
		}
	}
	if ring.Between(0, 2, func(*Event) {}) || ring.Between(1, 2, func(*Event) {}) {
		t.Error("everything is told of what is gone")
	}
}

// TestBetweenWithoutVisit: it tells whether all are there, to who asks for nothing else.
func TestBetweenWithoutVisit(t *testing.T) {
	ring, err := NewRing(RingOptions{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	for revision := uint64(1); revision <= 4; revision++ {
		ring.Push(&Event{Op: Put, Key: "k", Revision: revision})
	}
	ring.Flush()
	if !ring.Between(3, 4, nil) || ring.Between(0, 4, nil) {
		t.Error("without visit another answer than with it")
	}
}

// TestBetweenHammer asks while the ring goes round.
func TestBetweenHammer(t *testing.T) {
	const last = 200_000
	ring, err := NewRing(RingOptions{Slots: 256})
	if err != nil {
		t.Fatal(err)
	}
	var published atomic.Uint64
	var whole atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for after, through := uint64(0), uint64(0); through < last; after = through {
				through = published.Load()
				next := after + 1
				ordered := true
				if !ring.Between(after, through, func(e *Event) {
					ordered = ordered && e.Revision == next
					next++
				}) {
					continue
				}
				whole.Add(1)
				if !ordered || next != through+1 {
					t.Errorf("between %d and %d: in order %v, up to %d", after, through, ordered, next-1)
					return
				}
			}
		})
	}
	for revision := uint64(1); revision <= last; revision++ {
		ring.Push(&Event{Op: Put, Key: "k", Revision: revision})
		ring.Flush()
		published.Store(revision)
	}
	wg.Wait()
	if whole.Load() == 0 {
		t.Error("no answer was whole")
	}
}
