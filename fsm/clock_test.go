package fsm

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// TestClockJumps applies one log twice, once with the times of leaders whose clocks
// are set forward and back by years at any entry: the answers, the state and the
// events are the same, but for the time that a change says of itself.
func TestClockJumps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := drawLog(rt)
		steady, jumping := newMachine(t, 4), newMachine(t, 4)
		times := make(map[uint64]time.Time)
		for _, l := range log {
			moved := *l
			moved.AppendedAt = time.Unix(rapid.Int64Range(-1<<32, 1<<33).Draw(rt, "clock"), 0).UTC()
			times[l.Index] = moved.AppendedAt
			if want, got := steady.Apply(l), jumping.Apply(&moved); !sameResponse(want, got) {
				rt.Fatalf("entry %d: %+v and %+v", l.Index, want, got)
			}
		}
		same := slices.EqualFunc(steady.events(), jumping.events(), func(a, b *fanout.Event) bool {
			if !b.Time.Equal(times[b.Revision]) {
				rt.Fatalf("the event of revision %d is of %v; its entry was appended at %v", b.Revision, b.Time, times[b.Revision])
			}
			c := *b
			c.Time = a.Time
			return reflect.DeepEqual(a, &c)
		})
		if !same {
			rt.Fatalf("events %v and %v", steady.events(), jumping.events())
		}
		if a, b := listed(rt, steady), listed(rt, jumping); !slices.Equal(a, b) {
			rt.Fatalf("states %v and %v", a, b)
		}
	})
}

// listed lists keys, values and revisions.
func listed(t tester, m *machine) (entries []string) {
	t.Helper()
	filter, err := fanout.PatternFilter(">")
	if err != nil {
		t.Fatal(err)
	}
	for e := range m.List(filter).Entries() {
		entries = append(entries, fmt.Sprintf("%q=%q@%d", e.Key, e.Value, e.Revision))
	}
	return entries
}
