package fsm

import (
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

// put sets a key, if it stands where ifRevision wants it. It copies value.
func (s *store) put(c Command, revision uint64, at time.Time) (*fanout.Event, error) {
	if c.IfRevision != nil {
		if err := c.check(s.entries.get(c.Key)); err != nil {
			return nil, err
		}
	}
	// make and copy leave no spare capacity, into which receivers that
	// append to a shared value would write.
	value := make([]byte, len(c.Value))
	copy(value, c.Value)
	old, existed := s.entries.set(Entry{Key: c.Key, Value: value, Revision: revision, Time: at})
	e := &fanout.Event{Op: fanout.Put, Key: c.Key, Value: value, Revision: revision, Time: at}
	if existed {
		e.Key, e.PrevValue, e.PrevRevision = old.Key, old.Value, old.Revision
	} else {
		e.PrevRevision = s.tombstones.take(c.Key)
	}
	return e, nil
}

// delete removes a key, if it stands where ifRevision wants it.
func (s *store) delete(c Command, revision uint64, at time.Time) (*fanout.Event, error) {
	old := s.entries.get(c.Key)
	if old == nil {
		return nil, ErrNotFound
	}
	if err := c.check(old); err != nil {
		return nil, err
	}
	s.entries.delete(c.Key)
	s.tombstones.add(old.Key, revision)
	return &fanout.Event{
		Op: fanout.Delete, Key: old.Key, PrevValue: old.Value,
		Revision: revision, PrevRevision: old.Revision, Time: at,
	}, nil
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
