package fanout

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestGroupingModel: over many reads, of any size, each event is given once, with
// all others of its key and in order, the keys as they come first.
func TestGroupingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGrouping()
		unwatched := rapid.SampledFrom([]byte("01x")).Draw(t, "unwatched")
		g.may = func(hash uintptr) bool { return byte(hash>>1)&3 != unwatched&3 }
		revision := uint64(0)
		for range rapid.IntRange(1, 6).Draw(t, "reads") {
			n := rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(100, 3*maxRead)).Draw(t, "events")
			keys := rapid.SampledFrom([]int{1, 3, 20, 5000}).Draw(t, "keys")
			step := rapid.IntRange(1, 7).Draw(t, "step")
			var events []*Event
			for i := range n {
				revision++
				events = append(events, change(fmt.Sprint(i*step%keys), revision))
			}
			var want [][]*Event
			place := make(map[string]int)
			for _, e := range events {
				if n > 1 && !g.may(g.hash(e.Key)) {
					continue
				}
				p, ok := place[e.Key]
				if !ok {
					p = len(want)
					place[e.Key] = p
					want = append(want, nil)
				}
				want[p] = append(want[p], e)
			}
			got := g.split(events)
			if !slices.EqualFunc(got, want, func(a group, b []*Event) bool { return slices.Equal(a.events, b) }) {
				t.Fatalf("%d events of %d keys came in %d groups, want %d", n, keys, len(got), len(want))
			}
			for _, of := range got {
				if of.hash != g.hash(of.events[0].Key) {
					t.Fatalf("key %q has another's hash", of.events[0].Key)
				}
			}
			g.forget()
			if len(g.slots) > 4*maxRead {
				t.Fatalf("%d slots are kept", len(g.slots))
			}
		}
	})
}

// newGrouping uses a hash under which many keys meet.
func newGrouping() grouping {
	return grouping{
		hash: func(key string) uintptr { return uintptr(len(key))<<3 | uintptr(key[0])<<1 | 1 },
		may:  func(uintptr) bool { return true },
	}
}

// TestGroupingForgets: what was grouped is not held on to.
func TestGroupingForgets(t *testing.T) {
	g := newGrouping()
	var events []*Event
	for i := range 100 {
		events = append(events, change("k", uint64(i+1)))
	}
	g.split(events)
	g.forget()
	for _, e := range g.sorted[:cap(g.sorted)] {
		if e != nil {
			t.Fatal("an event is still referred to")
		}
	}
	for _, of := range g.groups[:cap(g.groups)] {
		if of.events != nil || of.watchers != nil {
			t.Fatal("a group is still referred to")
		}
	}
}

func TestGroupingAllocatesNothing(t *testing.T) {
	g := newGrouping()
	var events []*Event
	for i := range 1000 {
		events = append(events, change(fmt.Sprint(i%300), uint64(i+1)))
	}
	if allocs := testing.AllocsPerRun(50, func() { g.split(events); g.forget() }); allocs != 0 {
		t.Errorf("grouping %d events allocates %v times", len(events), allocs)
	}
}
