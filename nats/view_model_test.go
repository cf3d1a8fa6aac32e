package nats

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// viewStore is the store that the view of a model test looks at: keys, and as many
// deletions as it remembers.
type viewStore struct {
	revision  uint64
	keys      map[string]*fanout.Event
	deleted   map[string]uint64
	forgotten uint64 // highest revision of a deletion that it does not remember
	history   []*fanout.Event
}

func (s *viewStore) write(key string, remove bool, keep int) *fanout.Event {
	s.revision++
	e := &fanout.Event{Op: fanout.Put, Key: key, Revision: s.revision, Value: fmt.Append(nil, s.revision)}
	old := s.keys[key]
	switch {
	case old != nil:
		e.PrevRevision = old.Revision
	default:
		e.PrevRevision = s.deleted[key]
		delete(s.deleted, key)
	}
	if remove && old != nil {
		e.Op, e.Value = fanout.Delete, nil
		delete(s.keys, key)
		s.deleted[key] = e.Revision
		for len(s.deleted) > keep {
			oldest := ""
			for k, r := range s.deleted {
				if oldest == "" || r < s.deleted[oldest] {
					oldest = k
				}
			}
			s.forgotten = max(s.forgotten, s.deleted[oldest])
			delete(s.deleted, oldest)
		}
	} else {
		s.keys[key] = e
	}
	s.history = append(s.history, e)
	return e
}

// restore makes the store what it was after so many changes, at a revision above all.
func (s *viewStore) restore(changes int) {
	s.keys = make(map[string]*fanout.Event)
	for _, e := range s.history[:changes] {
		delete(s.keys, e.Key)
		if e.Op == fanout.Put {
			s.keys[e.Key] = e
		}
	}
	clear(s.deleted)
	s.revision++
	s.forgotten = s.revision
}

// restoreElsewhere is restore of a backup of another cluster: its keys have revisions that
// others have here, and values of their own.
func (s *viewStore) restoreElsewhere(revisions map[string]uint64) {
	s.restore(0)
	for key, revision := range revisions {
		s.keys[key] = &fanout.Event{Op: fanout.Put, Key: key, Revision: revision, Value: fmt.Append(nil, "restored at ", s.revision)}
		s.revision = max(s.revision, revision+1)
	}
	s.forgotten = s.revision
}

type viewAnswer struct {
	list     bool
	revision uint64
	changes  []Change
}

// since returns what a node answers; false for gone.
func (s *viewStore) since(floor uint64) ([]Change, bool) {
	if floor < s.forgotten {
		return nil, false
	}
	var all []Change
	for key, e := range s.keys {
		if e.Revision > floor {
			all = append(all, Change{Op: fanout.Put, Key: key, Value: e.Value, Revision: e.Revision})
		}
	}
	for key, r := range s.deleted {
		if r > floor {
			all = append(all, Change{Op: fanout.Delete, Key: key, Revision: r})
		}
	}
	return all, true
}

// TestViewModel: whatever of the events arrives, in whatever order with lists and
// catch-ups, what was given as news adds up to the store once the view is settled, also
// where the consumer did not take some of it, or deleted keys were forgotten; a loss is said
// if and only if there was one, but for those that the store itself cannot tell.
func TestViewModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mayRestore := rapid.Bool().Draw(t, "backups are restored")
		keep := rapid.IntRange(1, 4).Draw(t, "remembered deletions")
		s := &viewStore{keys: make(map[string]*fanout.Event), deleted: make(map[string]uint64)}
		v := newView(false)
		b := backlog{maxItems: 1 << 20, maxBytes: 1 << 20}
		given := make(map[string]string) // what the consumer took, by key
		last := make(map[string]uint64)  // revision of what it took, deletions included
		settled, restored := false, false
		var asked *viewAnswer
		var flight []*fanout.Event

		news := func(op fanout.Op, key string, value []byte, revision uint64, before known) {
			e := &fanout.Event{Op: op, Key: key, Value: value, Revision: revision}
			b.push(item{Update: Update{Kind: Changed, Event: e}, before: before, floor: v.floor})
		}
		take := func() {
			u, ok := b.pop()
			if !ok {
				return
			}
			if u.Event.Revision <= last[u.Event.Key] && !restored {
				t.Fatalf("key %s was given at revision %d behind %d", u.Event.Key, u.Event.Revision, last[u.Event.Key])
			}
			last[u.Event.Key] = u.Event.Revision
			if u.Event.Op == fanout.Put {
				given[u.Event.Key] = string(u.Event.Value)
			} else {
				delete(given, u.Event.Key)
			}
		}
		arrive := func(t *rapid.T, e *fanout.Event) {
			k := v.keys[e.Key]
			base := max(k.revision, v.floor)
			if k == (known{}) {
				base = max(base, v.forgotten)
			}
			var missing []*fanout.Event
			for _, old := range s.history {
				if old.Key == e.Key && old.Revision > base && old.Revision < e.Revision {
					missing = append(missing, old)
				}
			}
			isNews, lost, before := v.event(e)
			if isNews != (e.Revision > base) {
				t.Fatalf("revision %d is news: %v, where the key stands at %d", e.Revision, isNews, base)
			}
			if !isNews {
				return
			}
			if lost != nil && !restored && (len(missing) == 0 || missing[0].Revision < lost.From || missing[len(missing)-1].Revision > lost.To) {
				t.Fatalf("said to be lost: %+v, and missing are %v", *lost, missing)
			}
			tellable := e.PrevRevision != 0 || k.alive
			if lost == nil && len(missing) > 0 && tellable && !restored {
				t.Fatalf("%d changes before revision %d are missing and not said to be lost", len(missing), e.Revision)
			}
			news(e.Op, e.Key, e.Value, e.Revision, before)
		}
		// An answer stands where the store stood when it was asked for; events arrive
		// meanwhile.
		ask := func() {
			asked = &viewAnswer{revision: s.revision}
			if changes, ok := s.since(v.floor); settled && ok {
				asked.changes = changes
				return
			}
			asked.list = true
			for key, e := range s.keys {
				asked.changes = append(asked.changes, Change{Op: fanout.Put, Key: key, Value: e.Value, Revision: e.Revision})
			}
			v.beginList()
		}
		answer := func() (enough bool) {
			a := asked
			asked = nil
			for _, c := range a.changes {
				take := v.change
				if a.list {
					take = func(c Change) (bool, known) { return v.listed(c, a.revision) }
				}
				if isNews, before := take(c); isNews {
					news(c.Op, c.Key, c.Value, c.Revision, before)
				}
			}
			if a.list {
				for _, key := range v.unlisted(a.revision) {
					news(fanout.Delete, key, nil, a.revision, v.set(key, known{revision: a.revision}))
				}
			}
			settled = true
			return v.settle(a.revision, b.least(a.revision))
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "key")
				flight = append(flight, s.write(key, rapid.Bool().Draw(t, "delete"), keep))
			},
			"arrive": func(t *rapid.T) {
				if len(flight) > 0 {
					arrive(t, flight[0])
					flight = flight[1:]
				}
			},
			"lose": func(t *rapid.T) {
				if len(flight) > 0 {
					flight = flight[1:]
				}
			},
			"repeat": func(t *rapid.T) {
				if len(s.history) > 0 && !restored {
					e := rapid.SampledFrom(s.history).Draw(t, "event")
					if !slices.Contains(flight, e) {
						arrive(t, e)
					}
				}
			},
			"ask": func(*rapid.T) {
				if asked == nil {
					ask()
				}
			},
			"answer": func(*rapid.T) {
				if asked != nil {
					answer()
				}
			},
			"take": func(*rapid.T) { take() },
			"take back": func(*rapid.T) {
				b.takeBack(v)
				settled, asked = settled && asked == nil, nil
			},
			"forget": func(*rapid.T) {
				if len(v.dead) > 0 {
					v.forget()
					settled, asked = settled && asked == nil, nil
				}
			},
			"restore": func(t *rapid.T) {
				if !mayRestore {
					return
				}
				if rapid.Bool().Draw(t, "of another cluster") {
					key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
					s.restoreElsewhere(rapid.MapOf(key, rapid.Uint64Range(1, s.revision+1)).Draw(t, "revisions"))
				} else {
					s.restore(rapid.IntRange(0, len(s.history)).Draw(t, "changes"))
				}
				flight, asked = nil, nil
				restored = true
			},
		})
		ask()
		if !answer() {
			t.Fatal("a change above the newest revision is needed")
		}
		for b.len() > 0 {
			take()
		}
		v.settle(s.revision, b.least(s.revision))
		want := make(map[string]string)
		for key, e := range s.keys {
			want[key] = string(e.Value)
		}
		if !maps.Equal(given, want) {
			t.Fatalf("the consumer has %v, the store %v", given, want)
		}
		for key, k := range v.keys {
			if k.alive != (s.keys[key] != nil) {
				t.Fatalf("key %s is alive: %v", key, k.alive)
			}
		}
		if len(v.keys) != len(want) || len(v.dead) != 0 {
			t.Fatalf("%d keys are remembered, %d of them deleted; the store has %d", len(v.keys), len(v.dead), len(want))
		}
	})
}

// TestViewRaw: a raw watch asks where the store stands, which may be ahead of what is
// published. What comes then is news, and no sign of a loss.
func TestViewRaw(t *testing.T) {
	v := newView(true)
	v.settle(10, 10)
	for _, c := range []struct {
		revision, previous uint64
		news               bool
		lost               *Range
	}{
		{9, 4, true, nil},
		{9, 4, false, nil},
		{10, 9, true, nil},
		{12, 10, true, nil},
		{20, 15, true, &Range{13, 15}},
	} {
		news, lost, _ := v.event(&fanout.Event{Op: fanout.Put, Key: "k", Revision: c.revision, PrevRevision: c.previous})
		if news != c.news || (lost == nil) != (c.lost == nil) || lost != nil && *lost != *c.lost {
			t.Errorf("revision %d behind %d: news %v, lost %v; want %v, %v", c.revision, c.previous, news, lost, c.news, c.lost)
		}
	}
}
