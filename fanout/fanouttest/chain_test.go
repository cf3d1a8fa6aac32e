package fanouttest_test

import (
	"testing"

	"github.com/watchcast/watchcast/fanout"
	. "github.com/watchcast/watchcast/fanout/fanouttest"
)

// TestChain: every case of the rule.
func TestChain(t *testing.T) {
	type step struct {
		key            string
		revision, prev uint64
		op             fanout.Op
		want           Verdict
	}
	put, del := fanout.Put, fanout.Delete
	for _, c := range []struct {
		name   string
		stands uint64
		keys   []string // that were found there
		steps  []step
	}{
		{"from nothing", 0, nil, []step{{"a", 1, 0, put, Fresh}, {"b", 2, 0, put, Fresh}, {"a", 3, 1, put, Fresh}, {"a", 4, 3, del, Fresh}, {"a", 5, 4, put, Fresh}}},
		{"first seen behind a loss", 0, nil, []step{{"a", 3, 1, put, Gap}, {"a", 4, 3, put, Fresh}}},
		{"a loss in between", 0, nil, []step{{"a", 1, 0, put, Fresh}, {"a", 5, 3, put, Gap}, {"a", 6, 5, put, Fresh}}},
		{"one key's loss is no other's", 0, nil, []step{{"a", 1, 0, put, Fresh}, {"b", 5, 3, put, Gap}, {"a", 6, 1, put, Fresh}}},
		{"repeats", 0, nil, []step{{"a", 1, 0, put, Fresh}, {"a", 1, 0, put, Repeat}, {"a", 4, 1, put, Fresh}, {"a", 1, 0, put, Repeat}, {"a", 5, 4, put, Fresh}}},
		{"an older one, later", 0, nil, []step{{"a", 4, 2, put, Gap}, {"a", 2, 0, put, Repeat}}},
		{"from a revision", 7, nil, []step{{"a", 9, 7, put, Fresh}, {"b", 10, 3, put, Fresh}, {"c", 12, 8, put, Gap}, {"d", 7, 0, put, Repeat}, {"e", 13, 0, put, Fresh}}},
		{"found there", 7, []string{"a"}, []step{{"a", 9, 7, put, Fresh}, {"a", 10, 0, put, Gap}}},
		{"found there, deleted and made again", 7, []string{"a"}, []step{{"a", 9, 0, put, Gap}, {"a", 10, 9, put, Fresh}}},
		{"not found there", 7, nil, []step{{"a", 9, 0, put, Fresh}}},
		{"tombstone known", 0, nil, []step{{"a", 1, 0, put, Fresh}, {"a", 2, 1, del, Fresh}, {"a", 3, 2, put, Fresh}}},
		{"tombstone forgotten", 0, nil, []step{{"a", 1, 0, put, Fresh}, {"a", 2, 1, del, Fresh}, {"a", 3, 0, put, Fresh}}},
		{"delete lost, tombstone forgotten", 0, nil, []step{{"a", 1, 0, put, Fresh}, {"a", 3, 0, put, Gap}}},
		{"expired", 0, nil, []step{{"a", 1, 0, put, Fresh}, {"a", 2, 1, fanout.Expire, Fresh}, {"a", 3, 0, put, Fresh}}},
		{"control", 0, nil, []step{{"", 9, 1, fanout.Lagged, Fresh}, {"", 9, 0, fanout.Reset, Fresh}, {"a", 1, 0, put, Fresh}}},
	} {
		var chain Chain
		state := make(State)
		for _, key := range c.keys {
			state[key] = Entry{Revision: 1}
		}
		chain.Stand(c.stands, state)
		for i, s := range c.steps {
			e := &fanout.Event{Key: s.key, Op: s.op, Revision: s.revision, PrevRevision: s.prev}
			if got := chain.See(e); got != s.want {
				t.Errorf("%s: event %d is %v, want %v", c.name, i+1, got, s.want)
			}
		}
	}
}

// TestChainStands: a read makes up for what was lost before it, and keeps what
// was seen above it.
func TestChainStands(t *testing.T) {
	var chain Chain
	see := func(key string, revision, prev uint64, want Verdict) {
		t.Helper()
		if got := chain.See(&fanout.Event{Key: key, Op: fanout.Put, Revision: revision, PrevRevision: prev}); got != want {
			t.Errorf("%s at %d behind %d is %v, want %v", key, revision, prev, got, want)
		}
	}
	if got := chain.See(nil); got != Fresh {
		t.Errorf("no event is %v", got)
	}
	see("a", 3, 0, Fresh)
	see("b", 9, 0, Fresh)
	chain.Stand(7, State{"c": {Revision: 5}})
	see("a", 7, 3, Repeat)
	see("a", 10, 0, Fresh) // the read did not find it, so it was deleted
	see("b", 9, 0, Repeat)
	see("b", 11, 9, Fresh)
	see("c", 12, 0, Gap)
	chain.Stand(5, nil)
	see("d", 6, 0, Repeat) // an older read takes nothing back
	see("d", 13, 8, Gap)
}

// TestChained: a loss that PrevRevision does not show, and one that it shows where
// there is none, are told, though nothing else is wrong with what was received.
func TestChained(t *testing.T) {
	put := func(revision, prev uint64) *fanout.Event {
		return &fanout.Event{Op: fanout.Put, Key: "k", Revision: revision, PrevRevision: prev}
	}
	del := func(revision, prev uint64) *fanout.Event {
		return &fanout.Event{Op: fanout.Delete, Key: "k", Revision: revision, PrevRevision: prev}
	}
	for _, c := range []struct {
		name   string
		log    []*fanout.Event
		takes  []int // of these, from 0
		broken bool
	}{
		{"all", []*fanout.Event{put(1, 0), put(2, 1), put(3, 2)}, []int{0, 1, 2}, false},
		{"a loss shows", []*fanout.Event{put(1, 0), put(2, 1), put(3, 2)}, []int{0, 2}, false},
		{"a loss at the end does not", []*fanout.Event{put(1, 0), put(2, 1), put(3, 2)}, []int{0}, false},
		{"a lost delete shows", []*fanout.Event{put(1, 0), del(2, 1), put(3, 2)}, []int{0, 2}, false},
		{"a lost delete shows when it is forgotten", []*fanout.Event{put(1, 0), del(2, 1), put(3, 0)}, []int{0, 2}, false},
		{"came and went, and is forgotten", []*fanout.Event{put(1, 0), del(2, 1), put(3, 0)}, []int{2}, true},
		{"came and went again, and is forgotten", []*fanout.Event{del(1, 0), put(2, 1), del(3, 2), put(4, 0)}, []int{0, 3}, true},
		{"no link at all", []*fanout.Event{del(1, 0), put(2, 0), put(3, 0)}, []int{0, 1, 2}, true},
		{"link too low hides a loss", []*fanout.Event{put(1, 0), put(2, 1), put(3, 1)}, []int{0, 2}, true},
		{"link too high makes one up", []*fanout.Event{put(1, 0), put(3, 2)}, []int{0, 1}, true},
	} {
		l := NewLog()
		l.Commit(c.log...)
		filter := pattern(t, ">")
		r := l.Receiver(c.name, filter, 0)
		conflated, puts := l.Receiver(c.name, filter, 0, Conflated()), l.Receiver(c.name, filter, 0, Ops(fanout.Put))
		for _, i := range c.takes {
			for _, r := range []*Receiver{r, conflated, puts} {
				r.Receive(c.log[i])
			}
		}
		want := ""
		if c.broken {
			want = "chain"
		}
		if err := r.Chained(); broken(err) != want {
			t.Errorf("%s: %v", c.name, err)
		}
		if conflated.Chained() != nil || puts.Chained() != nil {
			t.Errorf("%s: a receiver to which changes may be absent is held to the chain", c.name)
		}
	}
}
