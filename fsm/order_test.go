package fsm

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// TestAnEventComesAfterItsChange reads events while they are made: each must be
// in the store, and counted, by the time it is received. They are published a
// batch at a time.
func TestAnEventComesAfterItsChange(t *testing.T) {
	const batches, size = 100, 50
	m := newMachine(t, 8)
	m.init()
	c := m.ring.Cursor(0)
	defer c.Close()
	var done atomic.Bool
	go func() {
		defer done.Store(true)
		for range batches {
			logs := make([]*raft.Log, size)
			for i := range logs {
				m.last++
				logs[i] = logOf(m.last, put(fmt.Sprint("k", i%3), fmt.Sprint(m.last)))
			}
			m.ApplyBatch(logs)
		}
	}()

	for seen, last := 0, uint64(1); seen < batches*size; {
		ended := done.Load()
		events := c.Poll(make([]*fanout.Event, 0, 2048))
		if len(events) == 0 {
			if ended {
				t.Fatalf("received %d of %d events", seen, batches*size)
			}
			runtime.Gosched()
			continue
		}
		if end := events[len(events)-1].Revision; (end-1)%size != 0 {
			t.Fatalf("published up to revision %d, within a batch", end)
		}
		for _, e := range events {
			if e.Op == fanout.Lagged {
				seen += int(e.Revision - e.PrevRevision + 1)
				last = e.Revision
				continue
			}
			if e.Revision != last+1 {
				t.Fatalf("event at revision %d follows %d", e.Revision, last)
			}
			last = e.Revision
			seen++
			if r := m.Revision(); r < e.Revision {
				t.Fatalf("event of revision %d; the store stands at %d", e.Revision, r)
			}
			if entry, err := m.Get(e.Key); err != nil || entry.Revision < e.Revision {
				t.Fatalf("event of revision %d; the store has %+v, %v", e.Revision, entry, err)
			}
		}
	}
}

// TestAResetComesAfterItsState: while somebody still reads the old state nobody is told of
// the new one.
func TestAResetComesAfterItsState(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	snapshot := snapshotOf(t, m.FSM)
	c := m.ring.Cursor(0)
	defer c.Close()
	restored := make(chan error, 1)
	m.mu.RLock() // as a reader does
	go func() { restored <- restore(m.FSM, snapshot) }()
	for range 10_000 {
		if events := c.Poll(make([]*fanout.Event, 0, 8)); len(events) > 0 {
			t.Errorf("received %+v beside a reader of the old state", events[0])
			break
		}
		runtime.Gosched()
	}
	m.mu.RUnlock()
	if err := <-restored; err != nil {
		t.Fatal(err)
	}
	if events := c.Poll(make([]*fanout.Event, 0, 8)); !t.Failed() && (len(events) != 1 || events[0].Op != fanout.Reset) {
		t.Errorf("received %+v, want a reset", events)
	}
}

// TestReadersSeeWholeBatches changes two keys at the ends of each batch; a
// reader that sees the first at a revision must find the second at least there.
func TestReadersSeeWholeBatches(t *testing.T) {
	const batches, size = 3000, 50
	m := newMachine(t, 8)
	m.init()
	done := make(chan struct{})
	go func() {
		defer close(done)
		logs := make([]*raft.Log, size)
		for range batches {
			for i := range logs {
				key := "between"
				switch i {
				case 0:
					key = "a"
				case size - 1:
					key = "b"
				}
				m.last++
				logs[i] = logOf(m.last, put(key, ""))
			}
			m.ApplyBatch(logs)
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
		}
		a, errA := m.Get("a")
		b, errB := m.Get("b")
		if errA == nil && (errB != nil || b.Revision <= a.Revision) {
			t.Fatalf("a is at %d, b at %d (%v)", a.Revision, b.Revision, errB)
		}
		if errB == nil && m.Revision() < b.Revision {
			t.Fatalf("b is at %d, the store at %d", b.Revision, m.Revision())
		}
	}
}
