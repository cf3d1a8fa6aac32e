package fanout

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a state of entries at revision 1, whose functions do what a test says.
type scripted struct {
	*harness
	w       *Watcher
	entries int
	next    func(entry int) // before an entry is returned, from 1; entries+1 is the end
	close   func()

	read   int          // one consumer at a time, so the race detector sees another
	closed atomic.Int64 // times
}

func newScripted(t *testing.T, entries int) *scripted {
	s := &scripted{entries: entries, next: func(int) {}, close: func() {}}
	s.harness = newHarness(t, 64, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
		return Snapshot{Revision: 1, Next: s.entry, Close: func() {
			s.closed.Add(1)
			s.close()
		}}, nil
	}})
	s.run(t)
	s.put("a")
	s.w = s.watchKey(t, "a", WithInitial())
	return s
}

func (s *scripted) entry() *Event {
	s.read++
	s.next(s.read)
	if s.read > s.entries {
		return nil
	}
	return change("a", 1)
}

// consumers are the ways to receive. Each takes so many events, or what there is
// until the watcher ends.
var consumers = map[string]func(w *Watcher, most int) (events []*Event){
	"Next": func(w *Watcher, most int) (events []*Event) {
		for len(events) < most {
			e, err := w.Next(context.Background())
			if err != nil {
				break
			}
			events = append(events, e)
		}
		return events
	},
	"TryNext": func(w *Watcher, most int) (events []*Event) {
		for len(events) < most {
			if e, ok := w.TryNext(); ok {
				events = append(events, e)
			} else if w.Err() != nil {
				break
			}
			runtime.Gosched()
		}
		return events
	},
	"Chan": func(w *Watcher, most int) (events []*Event) {
		for len(events) < most {
			e, ok := <-w.Chan()
			if !ok {
				break
			}
			events = append(events, e)
		}
		return events
	},
}

// finishes fails the test if f does not return.
func finishes[T any](t *testing.T, f func() T) (result T) {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case result = <-done:
	case <-time.After(patience):
		t.Fatal("it waits for ever")
	}
	return result
}
