package fanout

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestGroupingModel: over many reads, of any size, each event is given once, with
// all others of its key and in order, the keys as they come first; those that are set
// aside behind the others.
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
			var first func(uintptr) bool
			if set := rapid.SampledFrom([]byte("-0123")).Draw(t, "first"); set != '-' {
				first = func(hash uintptr) bool { return byte(hash>>1)&7 >= set&7 }
			}
			var want [2][][]*Event // of split, of others
			place := make(map[string]int)
			for _, e := range events {
				h := g.hash(e.Key)
				if n > 1 && !g.may(h) {
					continue
				}
				part := &want[0]
				if n > 1 && first != nil && !first(h) {
					part = &want[1]
				}
				p, ok := place[e.Key]
				if !ok {
					p = len(*part)
					place[e.Key] = p
					*part = append(*part, nil)
				}
				(*part)[p] = append((*part)[p], e)
			}
			for i, got := range [][]group{g.split(events, first), g.others()} {
				if !slices.EqualFunc(got, want[i], func(a group, b []*Event) bool { return slices.Equal(a.events, b) }) {
					t.Fatalf("part %d: %d events of %d keys came in %d groups, want %d", i, n, keys, len(got), len(want[i]))
				}
				for _, of := range got {
					if of.hash != g.hash(of.events[0].Key) {
						t.Fatalf("key %q has another's hash", of.events[0].Key)
					}
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

// TestAsideIsNotLookedAt: whether somebody watches a key that is set aside is asked behind
// those that are expected, who would wait for the answer.
func TestAsideIsNotLookedAt(t *testing.T) {
	g := newGrouping()
	var asked []uintptr
	g.may = func(hash uintptr) bool {
		asked = append(asked, hash)
		return true
	}
	expected, other := g.hash("expected"), g.hash("other")
	first := func(hash uintptr) bool { return hash == expected }
	g.split([]*Event{change("other", 1), change("expected", 2), change("other", 3)}, first)
	if want := []uintptr{expected}; !slices.Equal(asked, want) {
		t.Errorf("before the expected ones: %v, want %v", asked, want)
	}
	g.others()
	if want := []uintptr{expected, other, other}; !slices.Equal(asked, want) {
		t.Errorf("in all: %v, want %v", asked, want)
	}
}

// TestGroupingForgets: what was grouped is not held on to.
func TestGroupingForgets(t *testing.T) {
	g := newGrouping()
	var events []*Event
	for i := range 100 {
		events = append(events, change("k", uint64(2*i+1)), change("long", uint64(2*i+2)))
	}
	g.split(events, func(hash uintptr) bool { return hash == g.hash("k") })
	if len(g.others()) != 1 {
		t.Fatal("nothing was set aside")
	}
	g.forget()
	for _, e := range append(g.sorted[:cap(g.sorted)], g.aside[:cap(g.aside)]...) {
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
	odd := func(hash uintptr) bool { return hash>>1&1 == 1 }
	if allocs := testing.AllocsPerRun(50, func() { g.split(events, odd); g.others(); g.forget() }); allocs != 0 {
		t.Errorf("grouping %d events allocates %v times", len(events), allocs)
	}
}
