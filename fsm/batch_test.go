package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fanout"
)

// TestBatchIsAllOrNothing: whatever is wrong with one command of a batch, none is
// carried out, and the error names the key.
func TestBatchIsAllOrNothing(t *testing.T) {
	many := make([]Command, MaxBatch)
	for i := range many {
		many[i] = put(fmt.Sprint(i), "")
	}
	half := strings.Repeat("x", testCluster.MaxValueBytes/2)
	cases := []struct {
		name  string
		batch []Command
		err   error
		says  string
	}{
		{"nothing", nil, ErrBadBatch, "1 to 128"},
		{"a key twice", []Command{put("a", ""), put("b", ""), del("a")}, ErrBadBatch, `"a"`},
		{"a missing key", []Command{put("new", ""), del("missing")}, ErrNotFound, `"missing"`},
		{"a conflict at the end", []Command{put("new", ""), put("a", "").at(99)}, ErrConflict, `"a"`},
		{"a conflict at the start", []Command{put("a", "").at(0), put("new", "")}, ErrConflict, `"a"`},
		{"a bad key", []Command{put("new", ""), put("", "")}, fanout.ErrBadKey, ""},
		{"values too large together", []Command{put("new", half), put("b", half+"x")}, ErrValueTooLarge, "together"},
		{"more than can be read", append(many, put("one more", "")), ErrBadCommand, "128"},
	}
	for _, c := range cases {
		m := newMachine(t, 8)
		m.init()
		m.do(put("a", "old"))
		r := m.do(batchOf(c.batch...))
		if !errors.Is(r.Err, c.err) || !strings.Contains(r.Err.Error(), c.says) || r.Revision != 3 {
			t.Errorf("%s: %+v, want %v that says %s", c.name, r, c.err, c.says)
		}
		if e, err := m.Get("a"); m.Len() != 1 || len(m.events()) != 1 || err != nil || string(e.Value) != "old" {
			t.Errorf("%s: there are %d keys and %d events; the old one is %+v, %v", c.name, m.Len(), len(m.events()), e, err)
		}
	}
	m := newMachine(t, 8)
	m.init()
	if r := m.do(batchOf(many...)); r.Err != nil || m.Len() != MaxBatch || len(m.events()) != MaxBatch {
		t.Errorf("the largest batch: %+v, %d keys", r, m.Len())
	}
}

// TestBatchIsOneRevision: its events share it and say which they are; a batch of
// one is like a single command.
func TestBatchIsOneRevision(t *testing.T) {
	m := newMachine(t, 8)
	m.init()              // 1
	m.do(put("a", "old")) // 2
	if r := m.do(batchOf(put("b", "1").at(0), del("a").at(2), put("c", "2"))); r != (Result{Revision: 3}) {
		t.Fatalf("%+v", r)
	}
	if r := m.do(batchOf(put("b", "3"))); r != (Result{Revision: 4, PrevRevision: 3}) {
		t.Fatalf("a batch of one: %+v", r)
	}
	var got []string
	for _, e := range m.events() {
		got = append(got, fmt.Sprintf("%v %s %d<%d %d/%d", e.Op, e.Key, e.PrevRevision, e.Revision, e.Batch, e.BatchSize))
	}
	want := []string{"put a 0<2 0/0", "put b 0<3 0/3", "delete a 2<3 1/3", "put c 0<3 2/3", "put b 3<4 0/0"}
	if !slices.Equal(got, want) {
		t.Errorf("events are\n%q, want\n%q", got, want)
	}
}

// TestReadersNeverSeeHalfABatch: Get between two applies sees all of it.
func TestReadersNeverSeeHalfABatch(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	everything, err := fanout.PatternFilter(">")
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			s, err := m.State(everything)
			if err != nil {
				done <- err
				return
			}
			var values []string
			for e := s.Next(); e != nil; e = s.Next() {
				values = append(values, string(e.Value))
			}
			if len(slices.Compact(values)) > 1 {
				done <- fmt.Errorf("at revision %d the values are %q", s.Revision, values)
				return
			}
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
		}
	}()
	for i := range 2000 {
		value := fmt.Sprint(i)
		if r := m.do(batchOf(put("a", value), put("b", value), put("c", value))); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
