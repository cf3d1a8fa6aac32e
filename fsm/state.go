package fsm

import "github.com/watchcast/watchcast/fanout"

// State returns the entries of the keys that filter means as they are now, for
// watchers that begin with them (RegistryOptions.Snapshot of package fanout): in
// key order, each as a Put without what was before. Any goroutine may call it; it
// waits at most for the batch that is being applied. What it returns holds on to
// this state, not to the lock.
func (f *FSM) State(filter fanout.Filter) (fanout.Snapshot, error) {
	if key, one := filter.Key(); one {
		return f.stateOf(key), nil
	}
	f.mu.Lock() // to copy is to change: see Snapshot
	revision, entries := f.store.revision, f.store.entries.copy()
	f.mu.Unlock()
	next := entries.from()
	return fanout.Snapshot{Revision: revision, Next: func() *fanout.Event {
		for e := next(); e != nil; e = next() {
			if filter.Match(e.Key) {
				return e.event()
			}
		}
		return nil
	}}, nil
}

func (f *FSM) stateOf(key string) fanout.Snapshot {
	f.mu.RLock()
	defer f.mu.RUnlock()
	s := fanout.Snapshot{Revision: f.store.revision}
	var entry *fanout.Event
	if e := f.store.entries.get(key); e != nil {
		entry = e.event()
	}
	s.Next = func() *fanout.Event {
		e := entry
		entry = nil
		return e
	}
	return s
}

// event is the put that made the entry.
func (e *Entry) event() *fanout.Event {
	return &fanout.Event{Op: fanout.Put, Key: e.Key, Value: e.Value, Revision: e.Revision, Time: e.Time}
}
