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

// apply returns the events and the error that c must have at revision.
func (m *model) apply(c Command, revision uint64) ([]*fanout.Event, error) {
	all := c.Batch
	if c.Op != CommandBatch {
		all = []Command{c}
	}
	if err := m.refuses(c.Op, all); err != nil {
		return nil, err
	}
	var events []*fanout.Event
	for i, c := range all {
		old := m.alive[c.Key]
		e := &fanout.Event{
			Op: fanout.Put, Key: c.Key, Value: c.Value, PrevValue: old.Value,
			Revision: revision, PrevRevision: m.prev(c.Key), Time: timeAt(revision),
		}
		if len(all) > 1 {
			e.Batch, e.BatchSize = uint32(i), uint32(len(all))
		}
		if c.Op == CommandDelete {
			e.Op = fanout.Delete
			delete(m.alive, c.Key)
			m.deleted = append(m.deleted, tombstone{key: c.Key, revision: revision})
		} else {
			m.alive[c.Key] = Entry{Key: c.Key, Value: c.Value, Revision: revision, Time: timeAt(revision)}
		}
		events = append(events, e)
	}
	return events, nil
}

// refuses returns why all of a command is refused: first what is wrong with it
// whatever the state, then the first of its parts that the state does not allow.
func (m *model) refuses(op CommandOp, all []Command) error {
	keys, bytes := map[string]bool{}, 0
	for _, c := range all {
		keys[c.Key] = true
		bytes += len(c.Value)
	}
	switch {
	case op == CommandBatch && (len(all) == 0 || len(keys) < len(all)):
		return ErrBadBatch
	case bytes > testCluster.MaxValueBytes:
		return ErrValueTooLarge
	}
	for _, c := range all {
		old, exists := m.alive[c.Key]
		switch {
		case c.Op == CommandDelete && !exists:
			return ErrNotFound
		case c.IfRevision != nil && *c.IfRevision != old.Revision:
			return ErrConflict
		}
	}
	return nil
}

func drawChange(t *rapid.T, m *model) Command {
	if rapid.IntRange(0, 3).Draw(t, "batch") > 0 {
		return drawSingle(t, m, testCluster.MaxValueBytes+1)
	}
	c := batchOf()
	for range rapid.IntRange(0, 4).Draw(t, "commands") {
		c.Batch = append(c.Batch, drawSingle(t, m, testCluster.MaxValueBytes/3))
	}
	return c
}

func drawSingle(t *rapid.T, m *model, longest int) Command {
	c := Command{
		Op:  rapid.SampledFrom([]CommandOp{CommandPut, CommandPut, CommandDelete, CommandDelete}).Draw(t, "op"),
		Key: rapid.SampledFrom(strings.Split("a b c d e f g", " ")).Draw(t, "key"),
	}
	if c.Op == CommandPut {
		c.Value = rapid.SliceOfN(rapid.Byte(), 0, longest).Draw(t, "value")
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
				made, err := want.apply(c, m.last)
				if !errors.Is(r.Err, err) || r.Revision != m.last {
					t.Fatalf("%+v: %+v, want error %v", c, r, err)
				}
				events = append(events, made...)
				var previous uint64
				if len(made) == 1 {
					previous = made[0].PrevRevision
				}
				if r.PrevRevision != previous {
					t.Fatalf("%+v: previous revision %d, want %d", c, r.PrevRevision, previous)
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
