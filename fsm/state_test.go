package fsm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/watchcast/watchcast/fanout"
)

// entriesOf takes what is left of a state.
func entriesOf(s fanout.Snapshot) (got []string) {
	for e := s.Next(); e != nil; e = s.Next() {
		got = append(got, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision))
	}
	return got
}

// TestStateStays: a state is that of its revision, whatever is applied while it
// is being read.
func TestStateStays(t *testing.T) {
	m := newMachine(t, 10)
	m.do(Command{Op: CommandInit, Cluster: testCluster})
	m.do(put("a.x", "1"))
	m.do(put("b", "2"))
	m.do(put("a.y", "3"))
	for _, c := range []struct {
		pattern string
		want    []string
	}{
		{">", []string{"a.x=1@2", "a.y=3@4", "b=2@3"}},
		{"a.*", []string{"a.x=1@2", "a.y=3@4"}},
		{"b", []string{"b=2@3"}},
		{"c", nil},
		{"c.>", nil},
	} {
		filter, err := fanout.PatternFilter(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.State(filter)
		if err != nil || s.Revision != m.Revision() {
			t.Fatalf("%s: revision %d, %v; want %d", c.pattern, s.Revision, err, m.Revision())
		}
		before := m.Revision()
		for _, key := range []string{"a.x", "a.y", "b", "c"} {
			m.do(put(key, "new"))
		}
		m.do(del("b"))
		if got := entriesOf(s); s.Revision != before || !slices.Equal(got, c.want) {
			t.Errorf("%s at %d: %v, want %v", c.pattern, s.Revision, got, c.want)
		}
		if e := s.Next(); e != nil {
			t.Errorf("%s: after the end comes %+v", c.pattern, e)
		}
		// As it was, but for revisions.
		m = newMachine(t, 10)
		m.do(Command{Op: CommandInit, Cluster: testCluster})
		m.do(put("a.x", "1"))
		m.do(put("b", "2"))
		m.do(put("a.y", "3"))
	}
}
