package fsm

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"
)

// TestRequestOnce: a request that comes again is answered as the first time and
// changes nothing, whatever has happened to its key since.
func TestRequestOnce(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	cases := map[string]Command{
		"put":          put("a", "1"),
		"put again":    put("a", "2"),
		"if":           put("b", "1").at(0),
		"not any more": put("b", "2").at(0),
		"delete":       del("a"),
		"not there":    del("a"),
		"batch":        batchOf(put("a", "1").at(0), del("b")),
		"ttl":          put("c", "1").ttl(time.Minute),
	}
	first := make(map[string]Result)
	for _, id := range []string{"put", "put again", "if", "not any more", "delete", "not there", "batch", "ttl"} {
		first[id] = m.do(cases[id].id(id).when(1))
	}
	for id, want := range map[string]error{"not any more": ErrConflict, "not there": ErrNotFound, "put again": nil} {
		if !errors.Is(first[id].Err, want) {
			t.Fatalf("%s: %+v", id, first[id])
		}
	}
	if first["put again"].PrevRevision == 0 {
		t.Fatal("the result has less than it could have")
	}
	restored := newMachine(t, 8)
	if err := restore(restored.FSM, snapshotOf(t, m.FSM)); err != nil {
		t.Fatal(err)
	}
	restored.last = m.last
	for _, m := range []*machine{m, restored} {
		m.do(put("a", "other"))
		m.do(put("b", "other"))
		m.do(del("c"))
		events := len(m.events())
		for id, want := range first {
			if got := m.do(cases[id].id(id).when(2)); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, at first %+v", id, got, want)
			}
		}
		if n := len(m.events()); n != events {
			t.Errorf("%d events of requests that were repeated", n-events)
		}
	}
}

// TestRequestReused: an id is for one request.
func TestRequestReused(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	m.do(put("a", "1").id("x").when(1))
	for _, c := range []Command{put("a", "2"), put("b", "1"), put("a", "1").at(2), put("a", "1").ttl(1), del("a"), batchOf(put("a", "1"))} {
		r := m.do(c.id("x").when(1))
		if !errors.Is(r.Err, ErrRequestReused) || r.Revision != m.last {
			t.Errorf("%+v: %+v", c, r)
		}
	}
	if a, err := m.Get("a"); err != nil || a.Revision != 2 || m.Len() != 1 {
		t.Errorf("a is %+v, %v", a, err)
	}
}

// TestRequestIsForgotten with too many others after it, or when its time is up, and
// neither earlier nor later. Then it counts as new.
func TestRequestIsForgotten(t *testing.T) {
	const keep = 4
	for _, c := range []struct {
		later int
		after time.Duration
		again bool
	}{{keep - 1, 0, false}, {keep, 0, true}, {0, RequestLifetime - 1, false}, {0, RequestLifetime, true}} {
		m := newMachine(t, keep)
		m.init()
		first := m.do(put("a", "").id("x").when(7))
		for i := range c.later {
			m.do(put("b", "").id(fmt.Sprint(i)).when(7))
		}
		r := m.do(put("a", "").id("x").when(7 + c.after))
		if (r.Revision != first.Revision) != c.again {
			t.Errorf("after %d others and %v: %+v, at first %+v", c.later, c.after, r, first)
		}
		if n := len(m.store.requests.byID); n > keep || n != len(m.store.requests.list) {
			t.Errorf("%d outcomes are kept, %d found", len(m.store.requests.list), n)
		}
	}
}

// TestRefusalsTakeNoRoom: what is refused whatever the state needs no remembering,
// and must not push out what does.
func TestRefusalsTakeNoRoom(t *testing.T) {
	m := newMachine(t, 1)
	m.init()
	first := m.do(put("a", "").id("x").when(1))
	m.do(put("a", strings17).id("y").when(1))
	m.do(put("", "").id("z").when(1))
	if r := m.do(put("a", "").id("x").when(1)); r != first {
		t.Errorf("%+v, at first %+v", r, first)
	}
}
