package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// TestWithoutARing applies, and restores, where nobody is told.
func TestWithoutARing(t *testing.T) {
	f := New(Options{})
	for i, c := range []Command{{Op: CommandInit, Cluster: testCluster}, put("k", "v")} {
		l := &raft.Log{Index: uint64(i + 1), Data: c.Append(nil)}
		if r := f.Apply(l).(Result); r.Err != nil {
			t.Errorf("%v: %+v", c.Op, r)
		}
	}
	if err := f.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, f)))); err != nil {
		t.Fatal(err)
	}
	if e, err := f.Get("k"); err != nil || string(e.Value) != "v" {
		t.Errorf("after a restore: %+v, %v", e, err)
	}
}

func TestInitSetsTheClusterOnce(t *testing.T) {
	m := newMachine(t, 8)
	if c, ok := m.Cluster(); ok {
		t.Errorf("before init, the cluster is %+v", c)
	}
	if r := m.init(); r != (Result{Revision: 1}) {
		t.Errorf("first init: %+v", r)
	}
	if r := m.do(Command{Op: CommandInit, Cluster: Cluster{ID: "other", MaxValueBytes: 1}}); r != (Result{Revision: 2}) {
		t.Errorf("second init: %+v", r)
	}
	if c, ok := m.Cluster(); !ok || c != testCluster {
		t.Errorf("cluster is %+v, %v", c, ok)
	}
	if ev := m.events(); len(ev) != 0 {
		t.Errorf("init made events: %v", ev)
	}
}

func TestNothingBeforeInit(t *testing.T) {
	m := newMachine(t, 8)
	for _, c := range []Command{put("k", "v"), del("k")} {
		if r := m.do(c); !errors.Is(r.Err, ErrNotInitialized) {
			t.Errorf("%v: %+v", c.Op, r)
		}
	}
	if m.Len() != 0 || m.Revision() != 2 {
		t.Errorf("%d keys at revision %d", m.Len(), m.Revision())
	}
}

// TestCommandsOneByOne follows one key through its life. A step that fails
// must leave no event, and the key as it was.
func TestCommandsOneByOne(t *testing.T) {
	m := newMachine(t, 8)
	m.init()            // revision 1
	steps := []struct { // at revision 2, 3, …
		c    Command
		prev uint64
		err  error
		at   uint64 // of a conflict
	}{
		/* 2 */ {c: del("k"), err: ErrNotFound},
		/* 3 */ {c: put("k", "a").at(7), err: ErrConflict, at: 0},
		/* 4 */ {c: del("k").at(0), err: ErrNotFound},
		/* 5 */ {c: put("k", "a").at(0), prev: 0},
		/* 6 */ {c: put("k", "b").at(0), err: ErrConflict, at: 5},
		/* 7 */ {c: put("k", "b").at(4), err: ErrConflict, at: 5},
		/* 8 */ {c: put("k", "b").at(5), prev: 5},
		/* 9 */ {c: put("k", ""), prev: 8},
		/* 10 */ {c: put("k", strings.Repeat("x", 17)), err: ErrValueTooLarge},
		/* 11 */ {c: put("", "v"), err: fanout.ErrBadKey},
		/* 12 */ {c: put(strings.Repeat("k", fanout.MaxKeyBytes+1), "v"), err: fanout.ErrBadKey},
		/* 13 */ {c: del(""), err: fanout.ErrBadKey},
		/* 14 */ {c: Command{Op: 99}, err: ErrBadCommand},
		/* 15 */ {c: del("k").at(8), err: ErrConflict, at: 9},
		/* 16 */ {c: del("k").at(9), prev: 9},
		/* 17 */ {c: del("k").at(9), err: ErrNotFound},
		/* 18 */ {c: put("k", strings.Repeat("x", 16)), prev: 16},
		/* 19 */ {c: del("k"), prev: 18},
		/* 20 */ {c: put("k", "z").at(19), err: ErrConflict, at: 0},
	}
	for i, s := range steps {
		before, errBefore := m.Get("k")
		events := len(m.events())
		r := m.do(s.c)
		want := uint64(i + 2)
		if r.Revision != want || r.PrevRevision != s.prev || !errors.Is(r.Err, s.err) {
			t.Fatalf("revision %d: %+v, want previous %d and error %v", want, r, s.prev, s.err)
		}
		if m.Revision() != want {
			t.Fatalf("revision is %d after command %d", m.Revision(), want)
		}
		var conflict *ConflictError
		if errors.As(r.Err, &conflict) != (s.err == ErrConflict) || conflict != nil && *conflict != (ConflictError{"k", s.at}) {
			t.Fatalf("revision %d: conflict %+v, want revision %d", want, conflict, s.at)
		}
		if s.err != nil {
			after, errAfter := m.Get("k")
			if !reflect.DeepEqual(before, after) || !reflect.DeepEqual(errBefore, errAfter) || len(m.events()) != events {
				t.Fatalf("revision %d failed and changed something: %+v, %+v", want, before, after)
			}
		}
	}
}

func TestEventsAreExactlyTheChanges(t *testing.T) {
	m := newMachine(t, 8)
	m.init()                    // 1
	m.do(put("a", "1"))         // 2
	m.do(put("b", ""))          // 3
	m.do(put("a", "2").at(999)) // 4: conflict
	m.do(put("a", "2"))         // 5
	m.do(put("b", "3"))         // 6
	m.do(del("a"))              // 7
	m.do(del("a"))              // 8: not found
	m.do(put("a", "4"))         // 9
	want := []*fanout.Event{
		{Op: fanout.Put, Key: "a", Value: []byte("1"), Revision: 2},
		{Op: fanout.Put, Key: "b", Value: []byte{}, Revision: 3},
		{Op: fanout.Put, Key: "a", Value: []byte("2"), PrevValue: []byte("1"), Revision: 5, PrevRevision: 2},
		{Op: fanout.Put, Key: "b", Value: []byte("3"), PrevValue: []byte{}, Revision: 6, PrevRevision: 3},
		{Op: fanout.Delete, Key: "a", PrevValue: []byte("2"), Revision: 7, PrevRevision: 5},
		{Op: fanout.Put, Key: "a", Value: []byte("4"), Revision: 9, PrevRevision: 7},
	}
	got := m.events()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i, w := range want {
		w.Time = timeAt(w.Revision)
		if g := sameEvent(got[i]); !reflect.DeepEqual(g, w) {
			t.Errorf("event %d:\n got %+v\nwant %+v", i, g, w)
		}
	}
	e, err := m.Get("a")
	if want := (Entry{Key: "a", Value: []byte("4"), Revision: 9, Time: timeAt(9)}); err != nil || !reflect.DeepEqual(e, want) {
		t.Errorf("Get: %+v, %v; want %+v", e, err, want)
	}
	if _, err := m.Get("missing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of a missing key: %v", err)
	}
}

// sameEvent copies what others can see of an event.
func sameEvent(e *fanout.Event) *fanout.Event {
	return &fanout.Event{
		Op: e.Op, Key: e.Key, Value: e.Value, PrevValue: e.PrevValue,
		Revision: e.Revision, PrevRevision: e.PrevRevision, Time: e.Time,
		Batch: e.Batch, BatchSize: e.BatchSize,
	}
}

func TestOtherEntriesOfABatch(t *testing.T) {
	m := newMachine(t, 8)
	got := m.ApplyBatch([]*raft.Log{
		{Index: 1, Type: raft.LogConfiguration, Data: []byte("not a command")},
		logOf(2, Command{Op: CommandInit, Cluster: testCluster}),
		logOf(3, put("k", "v")),
		{Index: 4, Type: raft.LogConfiguration},
	})
	want := []any{nil, Result{Revision: 2}, Result{Revision: 3}, nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("responses %+v, want %+v", got, want)
	}
	if m.Revision() != 3 {
		t.Errorf("revision is %d; a configuration is no command", m.Revision())
	}
	if got := m.ApplyBatch(nil); len(got) != 0 {
		t.Errorf("responses to nothing: %v", got)
	}
}

// TestTheLogMayBeReused holds what raft's log stores do: they own Data.
func TestTheLogMayBeReused(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	l := logOf(2, put("key", "value"))
	m.Apply(l)
	for i := range l.Data {
		l.Data[i] = '!'
	}
	e, err := m.Get("key")
	if err != nil || string(e.Value) != "value" || e.Key != "key" {
		t.Errorf("entry is %+v, %v", e, err)
	}
	if cap(e.Value) != len(e.Value) {
		t.Errorf("value of %d bytes has room for %d: receivers that append would share it", len(e.Value), cap(e.Value))
	}
}

func TestTimeIsTheSameOnEveryReplica(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	now := time.Now().In(time.FixedZone("leader", 3600))
	for i, at := range []time.Time{now, {}, time.Unix(0, 0), time.Unix(0, -1)} {
		l := logOf(uint64(i+2), put(fmt.Sprint(i), ""))
		l.AppendedAt = at
		m.Apply(l)
	}
	other := newMachine(t, 8)
	if err := restore(other.FSM, snapshotOf(t, m.FSM)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Time{time.Unix(0, now.UnixNano()).UTC(), {}, time.Unix(0, 0).UTC(), time.Unix(0, -1).UTC()} {
		for _, f := range []*FSM{m.FSM, other.FSM} {
			if e, err := f.Get(fmt.Sprint(i)); err != nil || e.Time != want {
				t.Errorf("time %d is %v, want %v (%v)", i, e.Time, want, err)
			}
		}
	}
}

func TestRefusedCommandsAreLoggedSparingly(t *testing.T) {
	var out bytes.Buffer
	m := newLoggingMachine(t, 8, slog.New(slog.NewTextHandler(&out, nil)))
	for i := range uint64(100) {
		m.Apply(logOfData(i+1, []byte("garbage")))
	}
	if n := strings.Count(out.String(), "refused a command"); n != 7 { // 1, 2, 4, … 64
		t.Errorf("%d lines for 100 refused commands:\n%s", n, out.String())
	}
}
