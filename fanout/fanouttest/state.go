package fanouttest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/watchcast/watchcast/fanout"
)

// Entry is what a key holds.
type Entry struct {
	Revision uint64 // of the change that made it
	Value    []byte
}

func (e Entry) equal(o Entry) bool {
	return e.Revision == o.Revision && bytes.Equal(e.Value, o.Value)
}

// State is the keys that exist, at one revision.
type State map[string]Entry

// restrict returns a copy with the keys of filter.
func (s State) restrict(filter fanout.Filter) State {
	some := make(State)
	for key, entry := range s {
		if filter.Match(key) {
			some[key] = entry
		}
	}
	return some
}

// clone copies the values too: what was recorded must not change any more.
func (s State) clone() State {
	c := make(State, len(s))
	for key, entry := range s {
		c[key] = Entry{Revision: entry.Revision, Value: bytes.Clone(entry.Value)}
	}
	return c
}

// apply makes a change. A control event makes none.
func (s State) apply(e *fanout.Event) {
	switch e.Op {
	case fanout.Put:
		s[e.Key] = Entry{Revision: e.Revision, Value: e.Value}
	case fanout.Delete, fanout.Expire:
		delete(s, e.Key)
	}
}

// set makes key what it is in from.
func (s State) set(key string, from State) {
	if entry, ok := from[key]; ok {
		s[key] = entry
	} else {
		delete(s, key)
	}
}

// differs describes the first key, in their order, that is not what it is in
// want; empty if there is none.
func (s State) differs(want State) string {
	keys := slices.Sorted(maps.Keys(want))
	for key := range s {
		if _, ok := want[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		got, has := s[key]
		entry, wanted := want[key]
		switch {
		case !has:
			return fmt.Sprintf("it lacks %q, which is %q of revision %d", key, entry.Value, entry.Revision)
		case !wanted:
			return fmt.Sprintf("it has %q, %q of revision %d, which does not exist", key, got.Value, got.Revision)
		case !got.equal(entry):
			return fmt.Sprintf("%q is %q of revision %d in it, want %q of revision %d", key, got.Value, got.Revision, entry.Value, entry.Revision)
		}
	}
	return ""
}
