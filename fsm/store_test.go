package fsm

import (
	"bytes"
	"cmp"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// model says what the store must do in the plainest way: a map, and lists of all
// deletes and all requests there ever were.
type model struct {
	keep     int
	time     time.Duration
	alive    map[string]Entry
	deleted  []tombstone
	requests []modelRequest
}

type modelRequest struct {
	command Command
	time    time.Duration
	result  Result
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

// apply returns the events and the result that c must have at revision.
func (m *model) apply(c Command, revision uint64) ([]*fanout.Event, Result) {
	r := Result{Revision: revision}
	if c.Stamp.Term != 0 {
		if c.Stamp.Term != testTerm {
			r.Err = ErrStaleStamp
			return nil, r
		}
		m.time = max(m.time, c.Stamp.Time)
	}
	if c.RequestID != "" {
		if old := m.earlier(c.RequestID); old != nil {
			same := old.command
			same.Stamp = c.Stamp
			if !bytes.Equal(same.Append(nil), c.Append(nil)) {
				r.Err = ErrRequestReused
				return nil, r
			}
			return nil, old.result
		}
	}
	var events []*fanout.Event
	events, r.Err = m.change(c, revision)
	if len(events) == 1 {
		r.PrevRevision = events[0].PrevRevision
	}
	if c.RequestID != "" && (r.Err == nil || r.Err == ErrNotFound || r.Err == ErrConflict) {
		m.requests = append(m.requests, modelRequest{c, m.time, r})
	}
	return events, r
}

// earlier returns the request of an id, if it is remembered.
func (m *model) earlier(id string) *modelRequest {
	for i := range m.requests {
		later := len(m.requests) - 1 - i
		if q := &m.requests[i]; q.command.RequestID == id && later < m.keep && q.time+RequestLifetime > m.time {
			return q
		}
	}
	return nil
}

func (m *model) change(c Command, revision uint64) ([]*fanout.Event, error) {
	all := []Command{c}
	switch c.Op {
	case CommandExpire:
		all = m.due()
	case CommandBatch:
		all = c.Batch
	}
	if c.Op != CommandExpire {
		if err := m.refuses(c.Op, all); err != nil {
			return nil, err
		}
	}
	var events []*fanout.Event
	for i, part := range all {
		old := m.alive[part.Key]
		e := &fanout.Event{
			Op: fanout.Put, Key: part.Key, Value: part.Value, PrevValue: old.Value,
			Revision: revision, PrevRevision: m.prev(part.Key), Time: timeAt(revision),
		}
		if len(all) > 1 {
			e.Batch, e.BatchSize = uint32(i), uint32(len(all))
		}
		if part.Op == CommandPut {
			entry := Entry{Key: part.Key, Value: part.Value, Revision: revision, Time: timeAt(revision)}
			if part.TTL != 0 {
				entry.Expires = m.time + part.TTL
			}
			m.alive[part.Key] = entry
		} else {
			e.Op = fanout.Delete
			if c.Op == CommandExpire {
				e.Op = fanout.Expire
			}
			delete(m.alive, part.Key)
			m.deleted = append(m.deleted, tombstone{key: part.Key, revision: revision})
		}
		events = append(events, e)
	}
	return events, nil
}

// due returns a delete for each key whose time has passed.
func (m *model) due() (all []Command) {
	for key, e := range m.alive {
		if e.Expires != 0 && e.Expires <= m.time {
			all = append(all, del(key))
		}
	}
	slices.SortFunc(all, func(a, b Command) int {
		return cmp.Or(cmp.Compare(m.alive[a.Key].Expires, m.alive[b.Key].Expires), cmp.Compare(a.Key, b.Key))
	})
	return all[:min(len(all), MaxBatch)]
}

// next returns the first deadline.
func (m *model) next() (at time.Duration) {
	for _, e := range m.alive {
		if e.Expires != 0 && (at == 0 || e.Expires < at) {
			at = e.Expires
		}
	}
	return at
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
	var c Command
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		c = expire()
	case 1, 2:
		c = batchOf()
		for range rapid.IntRange(0, 4).Draw(t, "commands") {
			c.Batch = append(c.Batch, drawSingle(t, m, testCluster.MaxValueBytes/3))
		}
	default:
		c = drawSingle(t, m, testCluster.MaxValueBytes+1)
	}
	if c.Op != CommandExpire && rapid.IntRange(0, 2).Draw(t, "request") == 0 {
		c.RequestID = rapid.SampledFrom(strings.Split("p q r s", " ")).Draw(t, "id")
		if old := m.earlier(c.RequestID); old != nil && rapid.Bool().Draw(t, "repeat") {
			c = old.command
		}
	}
	if c.NeedsStamp() {
		step := rapid.SampledFrom([]time.Duration{-1, 0, 1, 2, time.Minute, RequestLifetime - 1, RequestLifetime})
		c.Stamp = Stamp{testTerm, max(0, m.time+step.Draw(t, "step"))}
		if rapid.IntRange(0, 15).Draw(t, "stale") == 0 {
			c.Stamp.Term++
		}
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
		if rapid.IntRange(0, 2).Draw(t, "expires") == 0 {
			c.TTL = rapid.SampledFrom([]time.Duration{1, 2, time.Minute, MaxTTL}).Draw(t, "ttl")
		}
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
				made, w := want.apply(c, m.last)
				if !errors.Is(r.Err, w.Err) || r.Revision != w.Revision || r.PrevRevision != w.PrevRevision {
					t.Fatalf("%+v: %+v, want %+v", c, r, w)
				}
				events = append(events, made...)
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
				if m.Len() != len(want.alive) || m.Revision() != m.last || m.Time() != want.time {
					t.Fatalf("%d keys at revision %d and time %v, want %d at %d and %v",
						m.Len(), m.Revision(), m.Time(), len(want.alive), m.last, want.time)
				}
				if next, _ := m.NextExpiry(); next != want.next() {
					t.Fatalf("the next key expires at %v, want %v", next, want.next())
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
