package fsm

import (
	"context"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// TestAnEventComesAfterItsChange reads events while they are made: each must be
// in the store, and counted, by the time it is received.
func TestAnEventComesAfterItsChange(t *testing.T) {
	const batches, size = 300, 7
	m := newMachine(t, 8)
	m.init()
	c := m.ring.Cursor(0)
	defer c.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)

	go func() {
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
		events, err := c.Next(ctx, make([]*fanout.Event, 0, 64))
		if err != nil {
			t.Fatal(err)
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

// TestReadersSeeWholeBatches changes two keys in each batch; a reader that sees
// the first at a revision must find the second at least there.
func TestReadersSeeWholeBatches(t *testing.T) {
	m := newMachine(t, 8)
	m.init()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			m.ApplyBatch([]*raft.Log{logOf(m.last+1, put("a", "")), logOf(m.last+2, put("b", ""))})
			m.last += 2
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
