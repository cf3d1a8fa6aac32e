package fsm

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// expired returns the keys of the Expire events that the ring holds.
func (m *machine) expired() (keys []string) {
	for _, e := range m.events() {
		if e.Op == fanout.Expire {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

// TestExpiresNeverEarly: a key goes with the first expire at or after its deadline,
// which counts from the put, and not a nanosecond sooner.
func TestExpiresNeverEarly(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	const t0, ttl = 5 * time.Second, time.Minute
	value := m.do(put("k", "v").ttl(ttl).when(t0))
	m.do(expire().when(t0 + ttl - 1))
	if e, err := m.Get("k"); err != nil || e.Expires != t0+ttl || len(m.expired()) != 0 {
		t.Fatalf("before its time: %+v, %v, expired %q", e, err, m.expired())
	}
	r := m.do(expire().when(t0 + ttl))
	if _, err := m.Get("k"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its time: %v", err)
	}
	last := m.events()[1]
	want := &fanout.Event{Op: fanout.Expire, Key: "k", PrevValue: []byte("v"), Revision: r.Revision, PrevRevision: value.Revision}
	if last.Op != want.Op || last.Key != want.Key || last.Value != nil || string(last.PrevValue) != "v" ||
		last.Revision != want.Revision || last.PrevRevision != want.PrevRevision || last.BatchSize != 0 {
		t.Errorf("the event is %+v", last)
	}
	if again := m.do(put("k", "")); again.PrevRevision != r.Revision {
		t.Errorf("a key that expired comes back after %d, want %d", again.PrevRevision, r.Revision)
	}
}

// TestNoOldTimer: what was put again, with another time to live or none, or deleted
// meanwhile, does not expire by the old one. A snapshot between makes no difference.
func TestNoOldTimer(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	for _, key := range []string{"refreshed", "kept", "deleted", "recreated", "plain"} {
		m.do(put(key, "").ttl(10).when(0))
	}
	m.do(put("refreshed", "").ttl(10).when(5))
	m.do(put("kept", ""))
	m.do(del("deleted"))
	m.do(del("recreated"))
	m.do(put("recreated", "").ttl(20).when(5))
	other := newMachine(t, 8)
	if err := restore(other.FSM, snapshotOf(t, m.FSM)); err != nil {
		t.Fatal(err)
	}
	other.last = m.last
	for _, m := range []*machine{m, other} {
		for _, step := range []struct {
			now     time.Duration
			expired string
		}{{10, "plain"}, {14, ""}, {15, "refreshed"}, {24, ""}, {25, "recreated"}, {MaxTTL, ""}} {
			before := len(m.expired())
			m.do(expire().when(step.now))
			if got := m.expired()[before:]; fmt.Sprint(got) != fmt.Sprint(slices.DeleteFunc([]string{step.expired}, func(s string) bool { return s == "" })) {
				t.Errorf("at %d: expired %q, want %q", step.now, got, step.expired)
			}
		}
		if m.Len() != 1 {
			t.Errorf("%d keys are left", m.Len())
		}
	}
}

// TestExpireIsBounded: of many keys that are due one command removes MaxBatch, the
// first in order, as a batch.
func TestExpireIsBounded(t *testing.T) {
	m := newMachine(t, 1000)
	m.init()
	const keys = 2*MaxBatch + 7
	var want []string
	for i := range keys {
		m.do(put(fmt.Sprintf("k%03d", i), "").ttl(time.Duration(2 - i%2)).when(0))
	}
	for odd := 1; odd >= 0; odd-- { // these expire first
		for i := odd; i < keys; i += 2 {
			want = append(want, fmt.Sprintf("k%03d", i))
		}
	}
	m.ring.Reset(m.last)
	for _, n := range []int{MaxBatch, MaxBatch, 7, 0} {
		before := len(m.events())
		r := m.do(expire().when(2))
		made := m.events()[before:]
		if r.Err != nil || len(made) != n {
			t.Fatalf("%+v expired %d keys, want %d", r, len(made), n)
		}
		for i, e := range made {
			if e.Revision != r.Revision || int(e.Batch) != i || int(e.BatchSize) != n {
				t.Fatalf("event %d of %d is %+v", i, n, e)
			}
		}
	}
	if got := m.expired(); !slices.Equal(got, want) {
		t.Errorf("expired\n%q, want\n%q", got, want)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestNextExpiry: who waits for the next deadline is woken when it is another, and
// not when it is not.
func TestNextExpiry(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	empty := snapshotOf(t, m.FSM)
	steps := []struct {
		name  string
		do    func()
		at    time.Duration
		wakes bool
	}{
		{"no deadline", func() { m.do(put("plain", "")) }, 0, false},
		{"the first", func() { m.do(put("a", "").ttl(10).when(0)) }, 10, true},
		{"a later one", func() { m.do(put("b", "").ttl(20).when(0)) }, 10, false},
		{"an earlier one", func() { m.do(put("c", "").ttl(5).when(0)) }, 5, true},
		{"refreshed", func() { m.do(put("c", "").ttl(5).when(2)) }, 7, true},
		{"deleted", func() { m.do(del("c")) }, 10, true},
		{"expired", func() { m.do(expire().when(10)) }, 20, true},
		{"nothing due", func() { m.do(expire().when(11)) }, 20, false},
		{"restored", func() {
			if err := restore(m.FSM, empty); err != nil {
				t.Fatal(err)
			}
		}, 0, true},
	}
	for _, s := range steps {
		_, changed := m.NextExpiry()
		s.do()
		if at, _ := m.NextExpiry(); at != s.at || closed(changed) != s.wakes {
			t.Errorf("%s: next at %d, woken: %v; want %d, %v", s.name, at, closed(changed), s.at, s.wakes)
		}
	}
}

// TestStaleStamp: a command by the clock of another term changes nothing, the time
// neither.
func TestStaleStamp(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	m.do(put("k", "v").ttl(100).when(10))
	before := snapshotOf(t, m.FSM)
	for _, term := range []uint64{testTerm - 1, testTerm + 1} {
		for _, c := range []Command{put("k", "w").id("x"), put("k", "w").ttl(1), del("k").id("y"), batchOf(put("k", "w").ttl(1)), expire()} {
			c = c.when(1000)
			c.Stamp.Term = term
			if r := m.do(c); !errors.Is(r.Err, ErrStaleStamp) || r.Revision != m.last {
				t.Errorf("%+v of term %d: %+v", c, term, r)
			}
		}
	}
	m.store.revision = 2
	if string(snapshotOf(t, m.FSM)) != string(before) {
		t.Error("a refused command changed the state")
	}
}

// TestTimeNeverGoesBack: a new leader's clock may begin behind what a command of the
// last one said that never reached it.
func TestTimeNeverGoesBack(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	m.do(put("a", "").ttl(10).when(100))
	m.do(put("b", "").ttl(10).when(50))
	if b, err := m.Get("b"); err != nil || b.Expires != 110 || m.Time() != 100 {
		t.Errorf("at %d: %+v, %v", m.Time(), b, err)
	}
	if r := m.do(put("c", strings17).ttl(1).when(200)); !errors.Is(r.Err, ErrValueTooLarge) || m.Time() != 200 {
		t.Errorf("a refused command: %+v, time %d", r, m.Time())
	}
}

const strings17 = "seventeen letters"

// BenchmarkExpire ticks beside a million keys that are not due.
func BenchmarkExpire(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			tick := ticking(b, keys)
			b.ReportAllocs()
			for b.Loop() {
				tick()
			}
		})
	}
}

// ticking returns a tick of a machine with so many keys that live for long.
func ticking(t tester, keys int) (tick func()) {
	m := newMachine(t, keptTombstones)
	m.do(Command{Op: CommandInit, Cluster: Cluster{ID: "bench", MaxValueBytes: 1 << 20}})
	for i := range keys {
		m.do(benchPut(i).ttl(time.Hour + time.Duration(i)).when(0))
	}
	entry := []*raft.Log{logOf(m.last, expire().when(1))}
	return func() {
		m.last++
		entry[0].Index = m.last
		m.ApplyBatch(entry)
	}
}

// TestTickScansNothing: with three hundred times as many keys that live for long a tick takes
// about as long; one that looked at each would take hundreds of times as long.
func TestTickScansNothing(t *testing.T) {
	few, many := ticking(t, 1000), ticking(t, 300_000)
	least := func(tick func()) time.Duration {
		least := time.Duration(math.MaxInt64)
		for range 200 {
			begun := time.Now()
			tick()
			least = min(least, time.Since(begun))
		}
		return least
	}
	if one, other := least(few), least(many); other > 20*one {
		t.Errorf("a tick takes %v with 1,000 keys and %v with 300,000", one, other)
	}
}
