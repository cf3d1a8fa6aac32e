package nats

import (
	"errors"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// TestLivingKeysAreBounded: a watch may know of more living keys than there are, because a
// deletion was lost or comes behind the keys that are new. It ends where an answer shows that
// there are too many, or where it remembers twice as many as it may.
func TestLivingKeysAreBounded(t *testing.T) {
	const most = 3
	del := func(key string, revision uint64) Change {
		return Change{Op: fanout.Delete, Key: key, Revision: revision}
	}
	for _, c := range []struct {
		name   string
		events []Change // that come before the answer
		answer []Change // behind a, b and c
		during []Change // events that come within the answer
		again  bool     // there is more to be asked for
		err    error
	}{
		{"others in their place, told first", nil, []Change{putAt("d", 4), putAt("e", 5), putAt("f", 6), del("a", 7), del("b", 7), del("c", 7)}, nil, false, nil},
		{"a deletion was lost", []Change{putAt("d", 7)}, []Change{putAt("d", 7), del("a", 6)}, nil, false, nil},
		{"it was lost meanwhile", nil, []Change{putAt("d", 4), del("a", 5)}, []Change{putAt("e", 9)}, true, nil},
		{"too many", nil, []Change{putAt("d", 4)}, nil, false, ErrTooManyKeys},
		{"too many, by an event", []Change{putAt("d", 4)}, []Change{putAt("d", 4)}, nil, false, ErrTooManyKeys},
		{"too many to be remembered", []Change{putAt("d", 4), putAt("e", 5), putAt("f", 6), putAt("g", 7)}, nil, nil, false, ErrTooManyKeys},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := heldWatch(t, 100)
			w.o.MaxKeys = most
			event := func(c Change) {
				w.receive(w.client.o.Subjects.EncodeEvent(&fanout.Event{Op: c.Op, Key: c.Key, Revision: c.Revision, Time: time.Now()}))
			}
			answer := func(revision uint64, changes, during []Change) {
				task, due := w.task(time.Now())
				if !due {
					t.Fatal("the watch does not ask")
				}
				if err := w.begin(task); err != nil {
					t.Fatal(err)
				}
				for _, c := range changes {
					if _, err := w.applyOne(task, c, revision); err != nil {
						t.Fatalf("%s of the answer: %v, %v", c.Key, err, w.err)
					}
				}
				for _, c := range during {
					event(c)
				}
				w.caughtUp(task, revision, len(changes))
			}
			answer(3, []Change{putAt("a", 1), putAt("b", 2), putAt("c", 3)}, nil)
			if w.err != nil {
				t.Fatalf("as many as it may have: %v", w.err)
			}
			for _, c := range c.events {
				event(c) // one too many is reason enough to ask
			}
			if len(c.events) == 0 {
				w.raise(false)
			}
			if w.err == nil {
				answer(8, c.answer, c.during)
			}
			if !errors.Is(w.err, c.err) {
				t.Errorf("the watch ended with %v; want %v", w.err, c.err)
			}
			if _, due := w.task(time.Now()); due != c.again {
				t.Errorf("it asks again: %v", due)
			}
		})
	}
}
