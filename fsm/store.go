package fsm

import (
	"fmt"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// store is the state that the log makes. It does no locking of its own.
type store struct {
	revision   uint64  // of the last command
	cluster    Cluster // zero before Init
	entries    entries
	tombstones tombstones
}

func newStore(keep int) *store {
	return &store{entries: newEntries(), tombstones: newTombstones(keep)}
}

func (s *store) initialized() bool { return s.cluster.ID != "" }

// moment is where in the log a change is made.
type moment struct {
	revision uint64
	time     time.Time
}

// allows returns why a put or delete cannot be carried out as the keys stand.
func (s *store) allows(c Command) error {
	if c.Op == CommandPut && c.IfRevision == nil {
		return nil // there is nothing to look up
	}
	old := s.entries.get(c.Key)
	if c.Op == CommandDelete && old == nil {
		return fmt.Errorf("%w: there is no key %q", ErrNotFound, c.Key)
	}
	return c.check(old)
}

// change carries out a put or delete that is allowed.
func (s *store) change(c Command, at moment) *fanout.Event {
	if c.Op == CommandDelete {
		return s.delete(c.Key, at)
	}
	return s.put(c, at)
}

// put sets a key. It copies value.
func (s *store) put(c Command, at moment) *fanout.Event {
	// make and copy leave no spare capacity, into which receivers that
	// append to a shared value would write.
	value := make([]byte, len(c.Value))
	copy(value, c.Value)
	old, existed := s.entries.set(Entry{Key: c.Key, Value: value, Revision: at.revision, Time: at.time})
	e := &fanout.Event{Op: fanout.Put, Key: c.Key, Value: value, Revision: at.revision, Time: at.time}
	if existed {
		e.Key, e.PrevValue, e.PrevRevision = old.Key, old.Value, old.Revision
	} else {
		e.PrevRevision = s.tombstones.take(c.Key)
	}
	return e
}

// delete removes a key, which exists.
func (s *store) delete(key string, at moment) *fanout.Event {
	old := s.entries.get(key)
	e := &fanout.Event{
		Op: fanout.Delete, Key: old.Key, PrevValue: old.Value,
		Revision: at.revision, PrevRevision: old.Revision, Time: at.time,
	}
	s.entries.delete(key)
	s.tombstones.add(e.Key, at.revision)
	return e
}

// check compares the command's condition with where the key stands; old is nil
// if it does not exist.
func (c Command) check(old *Entry) error {
	var have uint64
	if old != nil {
		have = old.Revision
	}
	if c.IfRevision != nil && *c.IfRevision != have {
		return &ConflictError{Key: c.Key, Revision: have}
	}
	return nil
}
