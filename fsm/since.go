package fsm

import (
	"errors"
	"fmt"
	"iter"

	"github.com/watchcast/watchcast/fanout"
)

// ErrGone says that what has changed since a revision cannot be told. The error is a
// [*GoneError].
var ErrGone = errors.New("fsm: changes are not known")

// GoneError is the [ErrGone] of one revision. List instead, and ask from there on.
type GoneError struct {
	// Since is what was asked for.
	Since uint64
	// Oldest is the lowest revision that can be asked for, and Revision, where the
	// state stands, the highest.
	Oldest, Revision uint64
}

func (e *GoneError) Error() string {
	why := "too long ago"
	if e.Since > e.Revision {
		why = fmt.Sprintf("above that of the state, %d", e.Revision)
	}
	return fmt.Sprintf("%v: revision %d is %s; the oldest to ask from is %d; list instead", ErrGone, e.Since, why, e.Oldest)
}

// Unwrap returns [ErrGone].
func (e *GoneError) Unwrap() error { return ErrGone }

// Changes are the newest changes of keys since a revision.
type Changes struct {
	// Revision is where the state stands with them: nothing up to it is left out,
	// and nothing is of later.
	Revision uint64

	next func() (KeyChange, bool)
}

// KeyChange is the newest change of a key.
type KeyChange struct {
	// Op is [fanout.Put], [fanout.Delete] or [fanout.Expire]; a Delete may be an
	// Expire that is not known to be one.
	Op fanout.Op
	// Entry is what a Put has made. Of the others it has the key, the revision and,
	// if it is known, the time.
	Entry
}

// All yields each key that has changed once, in no order; who stops goes on there the
// next time. One goroutine at a time may use it.
func (c Changes) All() iter.Seq[KeyChange] {
	return func(yield func(KeyChange) bool) {
		for k, ok := c.next(); ok && yield(k); k, ok = c.next() {
		}
	}
}

// Since returns what has changed above revision, of the keys that filter means. The
// error is a [*GoneError] if that cannot be told: a delete is forgotten with the
// 65,536th after it, and nothing is known of the time before a backup that
// was restored ([Backup.MoveTo]), because keys may have gone back in it. A revision that lies above
// the state's is of another one, or of a replica that is further.
//
// It costs what has changed where the ring reaches back to revision, and where filter
// is of one key. Else it goes through all keys that begin with the filter's prefix,
// as [FSM.List] does, when they are taken, and through all deletes that are
// remembered. Any goroutine may call it but Raft's apply goroutine; it waits for the
// batch that is being applied and its events.
func (f *FSM) Since(filter fanout.Filter, revision uint64) (Changes, error) {
	if key, one := filter.Key(); one {
		return f.sinceOf(key, revision)
	}
	if f.ring != nil {
		c, told, err := f.recent(filter, revision)
		if told || err != nil {
			return c, err
		}
	}
	return f.scan(filter, revision)
}

// tells returns an error if the state does not tell what has changed since revision.
func (s *store) tells(revision uint64) error {
	if revision < s.floor || revision > s.revision {
		return &GoneError{Since: revision, Oldest: s.floor, Revision: s.revision}
	}
	return nil
}

// sinceOf is Since for one key: it is looked up.
func (f *FSM) sinceOf(key string, revision uint64) (Changes, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if err := f.store.tells(revision); err != nil {
		return Changes{}, err
	}
	var changes []KeyChange
	if e := f.store.entries.get(key); e != nil {
		if e.Revision > revision {
			changes = append(changes, KeyChange{fanout.Put, *e})
		}
	} else if t := f.store.tombstones.byKey[key]; t != nil && t.revision > revision {
		changes = append(changes, t.change())
	}
	return Changes{f.store.revision, each(changes)}, nil
}

func (t *tombstone) change() KeyChange {
	return KeyChange{fanout.Delete, Entry{Key: t.key, Revision: t.revision}}
}

// each returns a function that gives the elements of all one by one.
func each[T any](all []T) func() (T, bool) {
	return func() (next T, ok bool) {
		if len(all) == 0 {
			return next, false
		}
		next, all = all[0], all[1:]
		return next, true
	}
}

// recent is Since out of the ring: that says which keys have changed, and which of
// them are gone; what the others hold is looked up, since an event does not say when
// its key expires. It returns false if the ring does not tell all.
//
// Events come into the ring a moment after their changes are in the state. So the
// state is looked at first, and then the ring up to there. The state is copied only
// if there is something to look up, because a copy makes later puts dearer.
func (f *FSM) recent(filter fanout.Filter, revision uint64) (c Changes, told bool, err error) {
	f.mu.RLock()
	s, at, batch := f.store, f.store.revision, f.batch
	err = s.tells(revision)
	f.mu.RUnlock()
	if err != nil {
		return Changes{}, false, err
	}
	f.awaitEvents(batch)
	newest := newestChanges{filter: filter, places: make(map[string]int)}
	if !f.ring.Between(revision, at, newest.add) {
		return Changes{}, false, nil
	}
	if len(newest.changes) == 0 {
		return Changes{at, each[KeyChange](nil)}, true, nil
	}

	f.mu.Lock()
	same, later, batch, entries := f.store == s, f.store.revision, f.batch, f.store.entries.copy()
	f.mu.Unlock()
	if !same {
		return Changes{}, false, nil // another state was restored meanwhile
	}
	f.awaitEvents(batch)
	if !f.ring.Between(at, later, newest.add) {
		return Changes{}, false, nil
	}
	next := each(newest.changes)
	return Changes{later, func() (KeyChange, bool) {
		c, ok := next()
		if ok && c.Op == fanout.Put {
			c.Entry = *entries.get(c.Key)
		}
		return c, ok
	}}, true, nil
}

// newestChanges collects the newest change of each key, without its value: that would
// be held on to. Each is in the place of the key's first.
type newestChanges struct {
	filter  fanout.Filter
	changes []KeyChange
	places  map[string]int // of a key in changes
}

func (n *newestChanges) add(e *fanout.Event) {
	if !n.filter.Match(e.Key) {
		return
	}
	c := KeyChange{e.Op, Entry{Key: e.Key, Revision: e.Revision, Time: e.Time}}
	if place, seen := n.places[e.Key]; seen {
		n.changes[place] = c
		return
	}
	n.places[e.Key] = len(n.changes)
	n.changes = append(n.changes, c)
}

// scan is Since out of the state alone.
func (f *FSM) scan(filter fanout.Filter, revision uint64) (Changes, error) {
	f.mu.Lock() // to copy is to change: see Snapshot
	err := f.store.tells(revision)
	if err != nil {
		f.mu.Unlock()
		return Changes{}, err
	}
	at, entries, deleted := f.store.revision, f.store.entries.copy(), f.store.tombstones.clone()
	f.mu.Unlock()

	next, gone := entries.from(filter.Prefix()), deleted.each()
	return Changes{at, func() (KeyChange, bool) {
		for e := next(); e != nil; e = next() {
			if e.Revision > revision && filter.Match(e.Key) {
				return KeyChange{fanout.Put, *e}, true
			}
		}
		for t := gone(); t != nil; t = gone() {
			if t.revision > revision && filter.Match(t.key) {
				return t.change(), true
			}
		}
		return KeyChange{}, false
	}}, nil
}

// awaitEvents returns when the events of that batch are in the ring, which they are a
// moment after its changes are in the state.
func (f *FSM) awaitEvents(batch uint64) {
	for f.told.Load() < batch {
		next := f.applied.next() // before the look: see bell
		if f.told.Load() >= batch {
			return
		}
		<-next
	}
}
