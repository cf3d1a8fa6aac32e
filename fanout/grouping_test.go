package fanout

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestGroupingModel: over many reads, of any size, each event is given once, with
// all others of its key and in order, the keys as they come first; a read so
// small that only neighbours are found apart.
func TestGroupingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g grouping
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
			for i, e := range events {
				p, ok := place[e.Key]
				if n <= fewEvents {
					ok = i > 0 && events[i-1].Key == e.Key
					p = len(want) - 1
				}
				if !ok {
					p = len(want)
					place[e.Key] = p
					want = append(want, nil)
				}
				want[p] = append(want[p], e)
			}
			var got [][]*Event
			g.each(events, func(of []*Event) { got = append(got, slices.Clone(of)) })
			if !slices.EqualFunc(got, want, func(a, b []*Event) bool { return slices.Equal(a, b) }) {
				t.Fatalf("%d events of %d keys came in %d groups, want %d", n, keys, len(got), len(want))
			}
			if len(g.slots) > 4*maxRead {
				t.Fatalf("%d slots are kept", len(g.slots))
			}
		}
	})
}

// TestGroupingForgets: what was grouped is not held on to.
func TestGroupingForgets(t *testing.T) {
	var g grouping
	var events []*Event
	for i := range 100 {
		events = append(events, change("k", uint64(i+1)))
	}
	g.each(events, func([]*Event) {})
	for _, e := range g.of[:cap(g.of)] {
		if e != nil {
			t.Fatal("an event is still referred to")
		}
	}
}

func TestGroupingAllocatesNothing(t *testing.T) {
	var g grouping
	var events []*Event
	for i := range 1000 {
		events = append(events, change(fmt.Sprint(i%300), uint64(i+1)))
	}
	n := 0
	count := func(of []*Event) { n += len(of) }
	if allocs := testing.AllocsPerRun(50, func() { g.each(events, count) }); allocs != 0 {
		t.Errorf("grouping %d events allocates %v times", len(events), allocs)
	}
}
