package fsm

import (
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// store is the state that the log makes. It does no locking of its own.
type store struct {
	revision   uint64        // of the last command
	time       time.Duration // highest of all stamps
	cluster    Cluster       // zero before Init
	entries    entries
	deadlines  deadlines // of the entries
	tombstones tombstones
	requests   requests

	// floor is the lowest revision since which all changes are known: that of the
	// last delete that was forgotten, or of the last backup that was restored.
	floor uint64
}

// limits says how much a store remembers. They are constants but in tests.
type limits struct{ tombstones, requests int }

var kept = limits{keptTombstones, keptRequests}

func newStore(keep limits) *store {
	return &store{
		entries:    newEntries(),
		deadlines:  newDeadlines(),
		tombstones: newTombstones(keep.tombstones),
		requests:   newRequests(keep.requests),
	}
}

func (s *store) initialized() bool { return s.cluster.ID != "" }

// moment is where in the log a change is made.
type moment struct {
	revision uint64
	time     time.Time
}

// allows returns why a put or delete cannot be carried out as the keys stand.
func (s *store) allows(c *Command) error {
	if c.Op == CommandPut && c.IfRevision == nil {
		return nil // there is nothing to look up
	}
	old := s.entries.get(c.Key)
	if c.Op == CommandDelete && old == nil {
		return &NotFoundError{Key: c.Key}
	}
	return c.check(old)
}

// change carries out a put or delete that is allowed.
func (s *store) change(c *Command, at moment) *fanout.Event {
	if c.Op == CommandDelete {
		return s.remove(fanout.Delete, c.Key, at)
	}
	return s.put(c, at)
}

// put sets a key. It copies value.
func (s *store) put(c *Command, at moment) *fanout.Event {
	// make and copy leave no spare capacity, into which receivers that
	// append to a shared value would write.
	value := make([]byte, len(c.Value))
	copy(value, c.Value)
	entry := Entry{Key: c.Key, Value: value, Revision: at.revision, Time: at.time}
	if c.TTL != 0 {
		entry.Expires = s.time + c.TTL
	}
	old, existed := s.entries.set(entry)
	e := &fanout.Event{Op: fanout.Put, Key: c.Key, Value: value, Revision: at.revision, Time: at.time}
	if existed {
		e.Key, e.PrevValue, e.PrevRevision = old.Key, old.Value, old.Revision
	} else {
		e.PrevRevision = s.tombstones.take(c.Key)
	}
	s.deadlines.move(e.Key, old.Expires, entry.Expires)
	return e
}

// remove takes away a key, which exists: op says how.
func (s *store) remove(op fanout.Op, key string, at moment) *fanout.Event {
	old := s.entries.get(key)
	e := &fanout.Event{
		Op: op, Key: old.Key, PrevValue: old.Value,
		Revision: at.revision, PrevRevision: old.Revision, Time: at.time,
	}
	s.deadlines.move(e.Key, old.Expires, 0)
	s.entries.delete(key)
	s.floor = max(s.floor, s.tombstones.add(e.Key, at.revision))
	return e
}

// expire removes the first keys whose time has passed. It appends the events.
func (s *store) expire(events []*fanout.Event, at moment) []*fanout.Event {
	before := len(events)
	for _, key := range s.deadlines.due(s.time, MaxBatch) {
		events = append(events, s.remove(fanout.Expire, key, at))
	}
	asBatch(events[before:])
	return events
}

// check compares the command's condition with where the key stands; old is nil
// if it does not exist.
func (c *Command) check(old *Entry) error {
	var have uint64
	if old != nil {
		have = old.Revision
	}
	if c.IfRevision != nil && *c.IfRevision != have {
		return &ConflictError{Key: c.Key, Revision: have}
	}
	return nil
}
