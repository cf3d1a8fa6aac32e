package fanouttest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	. "github.com/watchcast/watchcast/fanout/fanouttest"
)

// TestLogRefuses: what is no history is called that, and no receiver is blamed.
func TestLogRefuses(t *testing.T) {
	put := func(revision uint64, key string, prev uint64) *fanout.Event {
		return &fanout.Event{Op: fanout.Put, Key: key, Revision: revision, PrevRevision: prev, Value: []byte("v")}
	}
	del := func(revision uint64, key string, prev uint64) *fanout.Event {
		return &fanout.Event{Op: fanout.Delete, Key: key, Revision: revision, PrevRevision: prev}
	}
	in := func(e *fanout.Event, i, n uint32) *fanout.Event {
		e.Batch, e.BatchSize = i, n
		return e
	}
	was := func(e *fanout.Event, value string) *fanout.Event {
		e.PrevValue = []byte(value)
		return e
	}
	with := func(e *fanout.Event, op fanout.Op) *fanout.Event {
		e.Op = op
		return e
	}
	snapshot := State{"a": {Revision: 2, Value: []byte("v")}}
	for _, c := range []struct {
		name   string
		events []any // events, or the revision of a state that replaces
		wrong  string
	}{
		{"nothing", nil, ""},
		{"changes", []any{put(1, "a", 0), put(4, "b", 0), was(put(5, "a", 1), "v"), del(6, "a", 5)}, ""},
		{"a batch", []any{in(put(1, "a", 0), 0, 2), in(put(1, "b", 0), 1, 2), put(2, "a", 1)}, ""},
		{"a batch of one", []any{in(put(1, "a", 0), 0, 1), put(2, "a", 1)}, ""},
		{"a tombstone that is known", []any{put(1, "a", 0), del(2, "a", 1), put(3, "a", 2)}, ""},
		{"a tombstone that is forgotten", []any{put(1, "a", 0), del(2, "a", 1), put(3, "a", 0)}, ""},
		{"a state", []any{3, put(4, "a", 2), put(5, "b", 1), put(6, "c", 0)}, ""},
		{"a state that replaces", []any{put(1, "a", 0), 3, was(put(4, "a", 2), "v")}, ""},
		{"a key that the new state lacks", []any{put(1, "b", 0), 3, put(4, "b", 2)}, ""},

		{"no event", []any{(*fanout.Event)(nil)}, "nil"},
		{"revision 0", []any{put(0, "a", 0)}, "must grow"},
		{"same revision", []any{put(1, "a", 0), put(1, "b", 0)}, "must grow"},
		{"lower revision", []any{put(2, "a", 0), put(1, "b", 0)}, "must grow"},
		{"no key", []any{put(1, "", 0)}, "no change"},
		{"no operation", []any{with(put(1, "a", 0), 0)}, "no change"},
		{"unknown operation", []any{with(del(1, "a", 0), fanout.Expire+1)}, "no change"},
		{"control", []any{with(put(1, "a", 0), fanout.Lagged)}, "no change"},
		{"delete with a value", []any{with(put(1, "a", 0), fanout.Delete)}, "has a value"},
		{"batch that begins late", []any{in(put(1, "a", 0), 1, 2)}, "not the first"},
		{"batch with a hole", []any{in(put(1, "a", 0), 0, 3), in(put(1, "b", 0), 2, 3)}, "within its batch"},
		{"batch of two sizes", []any{in(put(1, "a", 0), 0, 3), in(put(1, "b", 0), 1, 2)}, "within its batch"},
		{"batch of two revisions", []any{in(put(1, "a", 0), 0, 2), in(put(2, "b", 0), 1, 2)}, "within its batch"},
		{"batch with a key twice", []any{in(put(1, "a", 0), 0, 2), in(put(1, "a", 0), 1, 2)}, "twice"},
		{"batch that is left", []any{in(put(1, "a", 0), 0, 2), put(2, "b", 0)}, "within its batch"},
		{"batch that does not end", []any{in(put(1, "a", 0), 0, 2)}, "not the last"},
		{"batch with a reset", []any{in(put(1, "a", 0), 0, 2), 2}, "follows"},
		{"reset below", []any{put(3, "a", 0), 3}, "follows"},
		{"reset of the future", []any{1}, "has \"a\" of revision 2"},
		{"no link", []any{put(1, "a", 0), put(2, "a", 0)}, "want 1"},
		{"link too low", []any{put(1, "a", 0), put(2, "a", 1), put(3, "a", 1)}, "want 2"},
		{"link too high", []any{put(1, "a", 0), put(2, "b", 0), put(3, "a", 2)}, "want 1"},
		{"link to itself", []any{put(1, "a", 1)}, "PrevRevision is 1"},
		{"link to nothing", []any{put(1, "a", 0), put(3, "b", 2)}, "no change there"},
		{"link before the state", []any{put(1, "a", 0), 3, put(4, "a", 1)}, "want 2"},
		{"another previous value", []any{put(1, "a", 0), was(put(2, "a", 1), "x")}, "PrevValue"},
		{"a previous value of nothing", []any{was(put(1, "a", 0), "x")}, "PrevValue"},
	} {
		l := NewLog()
		for _, e := range c.events {
			if at, ok := e.(int); ok {
				l.Replace(uint64(at), snapshot)
			} else {
				l.Commit(e.(*fanout.Event))
			}
		}
		err := l.Err()
		if c.wrong == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.wrong == "" {
			continue
		}
		if broken(err) != "history" || !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: Err is %v, want one that says %q", c.name, err, c.wrong)
		}
		if r := l.Receiver("innocent", pattern(t, ">"), 0); broken(r.Verify(100)) != "history" {
			t.Errorf("%s: the receiver is blamed: %v", c.name, r.Verify(100))
		}
	}
}

// TestUnchained: a writer may leave PrevRevision alone, if it says so.
func TestUnchained(t *testing.T) {
	l := NewLog(Unchained())
	r := l.Receiver("r", pattern(t, ">"), 0)
	for revision := range uint64(3) {
		e := &fanout.Event{Op: fanout.Put, Key: "a", Revision: revision + 1}
		l.Commit(e)
		r.Receive(e)
	}
	if err := r.Verify(3); err != nil {
		t.Error(err)
	}
}

// TestLogState: the state is known at every revision.
func TestLogState(t *testing.T) {
	a := storyWithReset()
	a.replace(12, "k.c")
	for revision, want := range []string{
		"", "k.a=1", "k.a=1 k.b=2", "k.a=3", "k.a=3 k.c=4", "k.a=3 k.c=4 k.d=5", "k.a=3 k.c=4 k.d=5",
		"k.a=3 k.b=6 k.e=6", "k.a=3 k.b=8 k.e=6", "k.a=3 k.b=8 k.c=9 k.e=6", "k.b=8 k.c=9 k.e=6", "k.b=8 k.c=9 k.e=6",
		"k.c=9",
	} {
		state := a.log.State(uint64(revision), pattern(t, "k.*"))
		var got []string
		for _, key := range []string{"k.a", "k.b", "k.c", "k.d", "k.e", "z"} {
			if entry, ok := state[key]; ok {
				got = append(got, fmt.Sprintf("%s=%d", key, entry.Revision))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("at %d there are %q, want %q", revision, got, want)
		}
	}
	if a.log.Last() != 12 || NewLog().Last() != 0 {
		t.Errorf("the last revisions are %d and %d, want 12 and 0", a.log.Last(), NewLog().Last())
	}
}

// TestRecordsAreCopies: what is done to an event or a state after it was recorded
// changes nothing, and a receiver that writes to what is shared is found out.
func TestRecordsAreCopies(t *testing.T) {
	a := story()
	r := a.log.Receiver("r", pattern(t, "k.*"), 8)
	e := lie(t, a.events[9][0], "")
	r.Receive(e)
	e.Revision = 77
	e = lie(t, a.events[10][0], "")
	e.Value = []byte("10")
	r.Receive(e)
	e.Value[0] = 'x'
	r.Receive(a.events[12][0])
	state := a.log.State(12, pattern(t, ">"))
	state["k.a"] = Entry{Revision: 10, Value: []byte("10")}
	r.Read(12, state)
	state["k.a"].Value[0] = 'x'
	delete(state, "k.b")
	if err := r.Verify(12); err != nil {
		t.Error(err)
	}
	a.events[9][0].PrevValue[0] = 'x' // somebody scribbles before it is received
	r = a.log.Receiver("r", pattern(t, "k.*"), 8)
	for _, revision := range []uint64{9, 10, 12} {
		r.Receive(a.events[revision][0])
	}
	if got := broken(r.Verify(12)); got != "foreign" {
		t.Errorf("an event that was written to breaks %q, want foreign", got)
	}
}

// TestConcurrent: writer, consumers and checks do not get into each other's way.
// Under the race detector it says more.
func TestConcurrent(t *testing.T) {
	const consumers, last = 3, 300
	l := NewLog(Unchained())
	filter := pattern(t, ">")
	var wg sync.WaitGroup
	var pushed [consumers]chan *fanout.Event
	for i := range consumers {
		pushed[i] = make(chan *fanout.Event, 10)
		r := l.Receiver("r", filter, 0)
		wg.Go(func() {
			for e := range pushed[i] {
				r.Receive(e)
				if e.Revision%50 != 0 {
					continue
				}
				r.Read(e.Revision, l.State(e.Revision, filter))
				if err := r.Verify(e.Revision); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for revision := uint64(1); revision <= last; revision++ {
		e := &fanout.Event{Op: fanout.Put, Key: "a", Revision: revision}
		l.Commit(e)
		for _, c := range pushed {
			c <- e
		}
	}
	for _, c := range pushed {
		close(c)
	}
	wg.Wait()
}
