package fsm

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// model says what the store must do in the plainest way: a map, and the list of
// all deletes there ever were.
type model struct {
	keep    int
	alive   map[string]Entry
	deleted []tombstone
}

// prev is the PrevRevision of the next event of key.
func (m *model) prev(key string) uint64 {
	if e, ok := m.alive[key]; ok {
		return e.Revision
	}
	for i := len(m.deleted) - 1; i >= 0; i-- {
		if later := len(m.deleted) - 1 - i; m.deleted[i].key == key && later < m.keep {
			return m.deleted[i].revision
		}
	}
	return 0
}

// apply returns the event and the error that c must have at revision.
func (m *model) apply(c Command, revision uint64) (*fanout.Event, error) {
	old, exists := m.alive[c.Key]
	switch {
	case c.Op == CommandPut && len(c.Value) > testCluster.MaxValueBytes:
		return nil, ErrValueTooLarge
	case c.Op == CommandDelete && !exists:
		return nil, ErrNotFound
	case c.IfRevision != nil && *c.IfRevision != old.Revision:
		return nil, ErrConflict
	}
	e := &fanout.Event{
		Op: fanout.Put, Key: c.Key, Value: c.Value, PrevValue: old.Value,
		Revision: revision, PrevRevision: m.prev(c.Key), Time: timeAt(revision),
	}
	if c.Op == CommandDelete {
		e.Op = fanout.Delete
		delete(m.alive, c.Key)
		m.deleted = append(m.deleted, tombstone{key: c.Key, revision: revision})
	} else {
		m.alive[c.Key] = Entry{Key: c.Key, Value: c.Value, Revision: revision, Time: timeAt(revision)}
	}
	return e, nil
}

func drawChange(t *rapid.T, m *model) Command {
	c := Command{
		Op:  rapid.SampledFrom([]CommandOp{CommandPut, CommandPut, CommandDelete, CommandDelete}).Draw(t, "op"),
		Key: rapid.SampledFrom(strings.Split("a b c d e f g", " ")).Draw(t, "key"),
	}
	if c.Op == CommandPut {
		c.Value = rapid.SliceOfN(rapid.Byte(), 0, testCluster.MaxValueBytes+1).Draw(t, "value")
	}
	switch rapid.IntRange(0, 5).Draw(t, "condition") {
	case 0:
		c.IfRevision = new(uint64)
	case 1, 2:
		c.IfRevision = new(m.alive[c.Key].Revision)
	case 3:
		c.IfRevision = new(rapid.Uint64Range(0, 100).Draw(t, "revision"))
	}
	return c
}

func TestStoreAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keep := rapid.IntRange(1, 5).Draw(rt, "keep")
		m := newMachine(t, keep)
		m.init()
		want := &model{keep: keep, alive: map[string]Entry{}}
		var events []*fanout.Event
		rt.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				c := drawChange(t, want)
				r := m.do(c)
				e, err := want.apply(c, m.last)
				if !errors.Is(r.Err, err) || r.Revision != m.last {
					t.Fatalf("%+v: %+v, want error %v", c, r, err)
				}
				if e != nil {
					events = append(events, e)
					if r.PrevRevision != e.PrevRevision {
						t.Fatalf("%+v: previous revision %d, want %d", c, r.PrevRevision, e.PrevRevision)
					}
				}
			},
			"restart from a snapshot": func(t *rapid.T) {
				snapshot := snapshotOf(t, m.FSM)
				last := m.last
				m = newMachine(t, keep)
				if err := restore(m.FSM, snapshot); err != nil {
					t.Fatal(err)
				}
				m.last, events = last, nil
			},
			"": func(t *rapid.T) {
				if m.Len() != len(want.alive) || m.Revision() != m.last {
					t.Fatalf("%d keys at revision %d, want %d at %d", m.Len(), m.Revision(), len(want.alive), m.last)
				}
				for key, w := range want.alive {
					if e, err := m.Get(key); err != nil || !reflect.DeepEqual(e, w) {
						t.Fatalf("key %q: %+v, %v; want %+v", key, e, err, w)
					}
				}
				got := m.events()
				if len(got) > 0 && got[0].Op == fanout.Reset {
					got = got[1:]
				}
				if len(got) != len(events) {
					t.Fatalf("%d events, want %d", len(got), len(events))
				}
				for i, w := range events {
					if g := sameEvent(got[i]); !reflect.DeepEqual(g, w) {
						t.Fatalf("event %d is\n%+v, want\n%+v", i, g, w)
					}
				}
			},
		})
	})
}
