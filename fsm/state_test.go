package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

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

// TestListModel: a listing is the entries whose keys the pattern matches, in key
// order, whatever a prefix of the pattern has to do with it.
func TestListModel(t *testing.T) {
	tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a", "b", "ab", "a b", "*", ">", "%", "\xff"}), 1, 3)
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t, 8)
		m.init()
		alive := map[string]bool{}
		for range rapid.IntRange(0, 40).Draw(t, "keys") {
			key := strings.Join(tokens.Draw(t, "key"), ".")
			if r := m.do(put(key, "")); r.Err != nil {
				t.Fatalf("put %q: %v", key, r.Err)
			}
			alive[key] = true
		}
		pattern := strings.Split(fanout.SubjectForm(strings.Join(tokens.Draw(t, "pattern"), ".")), ".")
		switch i := rapid.IntRange(0, len(pattern)-1).Draw(t, "token"); rapid.IntRange(0, 2).Draw(t, "wildcard") {
		case 0:
			pattern[i] = "*"
		case 1:
			pattern = append(pattern[:i], ">")
		}
		filter, err := fanout.PatternFilter(strings.Join(pattern, "."))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for key := range alive {
			if filter.Match(key) {
				want = append(want, key)
			}
		}
		slices.Sort(want)
		matched += len(want)
		l := m.List(filter)
		var got []string
		for e := range l.Entries() {
			got = append(got, e.Key)
		}
		if !slices.Equal(got, want) || l.Revision != m.Revision() {
			t.Fatalf("%s lists %q at %d, want %q at %d", filter, got, l.Revision, want, m.Revision())
		}
	})
	if matched == 0 {
		t.Error("no pattern matched anything")
	}
}
