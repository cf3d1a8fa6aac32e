package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// weighed is a compaction over a state machine that refuses what it is given, which weighs
// all the same.
type weighed struct {
	*compaction
	t        *testing.T
	index    uint64
	recorded []uint64
	store    raft.SnapshotStore
}

func newWeighed(t *testing.T) *weighed {
	t.Helper()
	ring, err := fanout.NewRing(fanout.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := raft.NewFileSnapshotStoreWithLogger(t.TempDir(), 5, raftLogger(testLogger(t)))
	if err != nil {
		t.Fatal(err)
	}
	w := &weighed{t: t, store: store}
	machine := fsm.New(fsm.Options{Ring: ring})
	w.compaction = newCompaction(machine, leastLog, func() uint64 { return w.index }, func(revision uint64) {
		if n := len(w.kept()); n != len(w.recorded) {
			t.Errorf("%d snapshots are whole, and %d were recorded", n, len(w.recorded))
		}
		w.recorded = append(w.recorded, revision)
	})
	return w
}

// kept are the snapshots that are whole.
func (w *weighed) kept() []*raft.SnapshotMeta {
	w.t.Helper()
	list, err := w.store.List()
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// grow applies entries of a weight, and reports whether a snapshot is due then.
func (w *weighed) grow(entries int, weight int64) (due bool) {
	var logs []*raft.Log
	for range entries {
		w.index++
		logs = append(logs, &raft.Log{Type: raft.LogCommand, Index: w.index, Data: make([]byte, weight-entryWeight)})
	}
	w.ApplyBatch(logs)
	select {
	case <-w.due:
		return true
	default:
		return false
	}
}

func (w *weighed) wantDue(due, want bool, why string) {
	w.t.Helper()
	if due != want {
		w.t.Fatalf("a snapshot is due: %v, %s; the log weighs %d, the snapshot %d", due, why, w.weight, w.size)
	}
}

func (w *weighed) persist(s raft.FSMSnapshot) (size int64) {
	w.t.Helper()
	sink, err := w.store.Create(raft.SnapshotVersionMax, w.index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Persist(sink); err != nil {
		w.t.Fatal(err)
	}
	return w.size
}

// TestCompactionIsDue: when a snapshot is due, and what of the log it takes the place of.
func TestCompactionIsDue(t *testing.T) {
	t.Parallel()
	w := newWeighed(t)
	const kib = 1 << 10
	w.wantDue(w.grow(1023, kib), false, "before the limit")
	w.wantDue(w.grow(1, kib), true, "at the limit")
	w.wantDue(w.grow(1000, kib), false, "though it was told")
	w.wantDue(w.grow(24, kib), true, "since none was taken while as much came")
	if got := w.trailing(); got != 512 {
		t.Errorf("%d entries stay, want those that weigh half of the limit", got)
	}
	s, err := w.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	at := w.index
	w.wantDue(w.grow(500, kib), false, "while one is written")
	w.persist(s)
	if !slices.Equal(w.recorded, []uint64{at}) {
		t.Errorf("recorded %v before a snapshot was whole, want the revision that it is of, %d", w.recorded, at)
	}
	w.wantDue(w.grow(523, kib), false, "before the limit, with what came while it was written")
	w.wantDue(w.grow(1, kib), true, "at the limit, with that")

	// What is restored has no log behind it, and may be large.
	w.size = leastLog
	w.next = w.limit()
	if s, err = w.Snapshot(); err != nil {
		t.Fatal(err)
	}
	_, in, err := w.store.Open(w.kept()[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(in); err != nil {
		t.Fatal(err)
	}
	w.replaced(w.weight+1, w.entries+1, leastLog) // of before that
	w.wantDue(w.grow(8, 256*kib-1), false, "below twice the snapshot")
	w.wantDue(w.grow(1, entryWeight), true, "at twice the snapshot")
	if got := w.trailing(); got != leastTrailing {
		t.Errorf("%d entries stay, want the least, %d", got, leastTrailing)
	}
}

// TestLogIsBounded: a log of large values is replaced though it has few entries, and a node
// starts again from the snapshot with nothing to announce.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.MaxLogBytes = leastLog
	n := lead(t, config)
	value := strings.Repeat("x", 64<<10)
	var last uint64
	for i := range 400 {
		last = put(t, n, fmt.Sprintf("k.%d", i%4), value)
	}
	c := n.consensus
	const few = leastTrailing + 3*leastLog/(64<<10) // with those that come while one is written
	eventually(t, "the log is short", func() bool {
		first, err := c.logs.FirstIndex()
		return err == nil && last-first < few
	})
	list, err := c.snapshots.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("snapshots are %v, %v", list, err)
	}
	eventually(t, "no snapshot is due", func() bool { log := n.Status().Log; return log.Weight < log.Limit })
	if log := n.Status().Log; log.Limit != max(leastLog, 2*log.Snapshot) || log.Snapshot < int64(4*len(value)) {
		t.Errorf("the node says that the log is %+v; the snapshot has 4 values of %d bytes", log, len(value))
	}
	stop(t, n)
	n = start(t, config)
	published := subscribe(t, connect(t, n.NATSURL()), ">")
	waitReady(t, n)
	wantValue(t, n, "k.3", value, last)
	published.silentUntilBeacon()
	published.noResets()
}

// TestCompactionWithoutLeader: a node that hears nobody does not wait for a record for ever,
// nor at all when it closes.
func TestCompactionWithoutLeader(t *testing.T) {
	t.Parallel()
	n := start(t, single(t))
	waitReady(t, n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.recorded(n.Revision() + 1000)
	}()
	select {
	case <-done:
		t.Fatal("it does not wait")
	default:
	}
	stop(t, n)
	within(t, "the wait ends", func() error { <-done; return nil })
}
