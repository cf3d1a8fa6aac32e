package fsm

import (
	"iter"

	"github.com/watchcast/watchcast/fanout"
)

// Listing is the entries of a filter at one revision.
type Listing struct {
	// Revision is that of the last command before it.
	Revision uint64

	next func() *Entry
}

// Entries yields the entries in key order; who stops goes on there the next time.
// One goroutine at a time may use it.
func (l Listing) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for e := l.next(); e != nil && yield(*e); e = l.next() {
		}
	}
}

// List returns the entries that filter means, as they are now. Any goroutine may
// call it; it waits at most for the batch that is being applied, however many
// entries there are: they are looked for as they are taken, and what is taken looks
// through all keys that begin with the filter's prefix. A listing holds on to the
// state it is of, not to a lock.
func (f *FSM) List(filter fanout.Filter) Listing {
	if key, one := filter.Key(); one {
		return f.listOf(key)
	}
	f.mu.Lock() // to copy is to change: see Snapshot
	revision, entries := f.store.revision, f.store.entries.copy()
	f.mu.Unlock()
	next := entries.from(filter.Prefix())
	return Listing{Revision: revision, next: func() *Entry {
		for e := next(); e != nil; e = next() {
			if filter.Match(e.Key) {
				return e
			}
		}
		return nil
	}}
}

func (f *FSM) listOf(key string) Listing {
	f.mu.RLock()
	defer f.mu.RUnlock()
	l := Listing{Revision: f.store.revision}
	var entry *Entry
	if e := f.store.entries.get(key); e != nil {
		entry = new(*e)
	}
	l.next = func() *Entry {
		e := entry
		entry = nil
		return e
	}
	return l
}

// State is [FSM.List] for watchers that begin with the state
// (RegistryOptions.Snapshot of package fanout): each entry as the Put that made
// it, without what was before.
func (f *FSM) State(filter fanout.Filter) (fanout.Snapshot, error) {
	l := f.List(filter)
	return fanout.Snapshot{Revision: l.Revision, Next: func() *fanout.Event {
		if e := l.next(); e != nil {
			return e.event()
		}
		return nil
	}}, nil
}

// event is the put that made the entry.
func (e *Entry) event() *fanout.Event {
	return &fanout.Event{Op: fanout.Put, Key: e.Key, Value: e.Value, Revision: e.Revision, Time: e.Time}
}
