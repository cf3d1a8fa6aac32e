package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

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
	refuse   error // to record
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
	w.compaction = newCompaction(machine, leastLog, func() uint64 { return w.index }, func() error { return nil }, func(revision uint64, void <-chan struct{}) error {
		if n := len(w.kept()); n != len(w.recorded) {
			t.Errorf("%d snapshots are whole, and %d were recorded", n, len(w.recorded))
		}
		if w.refuse == nil {
			w.recorded = append(w.recorded, revision)
		}
		return w.refuse
	}, func() (func(), error) { return func() {}, nil })
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

// persist does with a snapshot what Raft does.
func (w *weighed) persist(s raft.FSMSnapshot) error {
	w.t.Helper()
	defer s.Release()
	sink, err := w.store.Create(raft.SnapshotVersionMax, w.index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Persist(sink)
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
	if err := w.persist(s); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.recorded, []uint64{at}) {
		t.Errorf("recorded %v before a snapshot was whole, want the revision that it is of, %d", w.recorded, at)
	}
	w.wantDue(w.grow(523, kib), false, "before the limit, with what came while it was written")
	w.wantDue(w.grow(1, kib), true, "at the limit, with that")
	if !w.isDue() {
		t.Error("it is due no more")
	}

	// One that is not finished changes nothing.
	if s, err = w.Snapshot(); err != nil {
		t.Fatal(err)
	}
	w.refuse = errors.New("no record")
	if err := w.persist(s); !errors.Is(err, w.refuse) || len(w.kept()) != 1 || !w.isDue() {
		t.Errorf("error is %v, and %d snapshots are whole; want the reason, and 1", err, len(w.kept()))
	}
	w.refuse = nil

	// What is restored has no log behind it, may be large, and voids what is being made.
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
	if err := w.persist(s); !errors.Is(err, errVoid) || len(w.kept()) != 1 || w.isDue() {
		t.Errorf("error is %v, and %d snapshots are whole; want errVoid, and 1", err, len(w.kept()))
	}
	w.size = leastLog
	w.next = w.limit()
	w.wantDue(w.grow(8, 256*kib-1), false, "below twice the snapshot")
	w.wantDue(w.grow(1, entryWeight), true, "at twice the snapshot")
	if got := w.trailing(); got != leastTrailing {
		t.Errorf("%d entries stay, want the least, %d", got, leastTrailing)
	}
}

// TestRestoreWaitsForASnapshot that is whole already: Raft notes that first, and then what
// takes its place.
func TestRestoreWaitsForASnapshot(t *testing.T) {
	t.Parallel()
	w := newWeighed(t)
	w.grow(10, entryWeight)
	s, err := w.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sink, err := w.store.Create(raft.SnapshotVersionMax, w.index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	held := func(held bool, when string) {
		t.Helper()
		free := w.noting.TryLock()
		if free {
			w.noting.Unlock()
		}
		if free == held {
			t.Errorf("a restore is held up: %v, %s", !free, when)
		}
	}
	held(false, "before the snapshot is whole")
	if err := s.Persist(sink); err != nil {
		t.Fatal(err)
	}
	held(true, "until Raft has noted it")
	s.Release()
	held(false, "when it has")
	w.BatchingFSM = restoring{w.BatchingFSM, func() { held(true, "while a state is restored") }}
	_, in, err := w.store.Open(w.kept()[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(in); err != nil {
		t.Fatal(err)
	}
	held(false, "when it is restored")
}

// restoring has something looked at while a state is restored.
type restoring struct {
	raft.BatchingFSM
	look func()
}

func (r restoring) Restore(in io.ReadCloser) error {
	r.look()
	return r.BatchingFSM.Restore(in)
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

// TestDroppedEntriesAreGone: what a snapshot has taken the place of, and was dropped, is not sent
// to a node that lags, also if the file of the log still has it.
func TestDroppedEntriesAreGone(t *testing.T) {
	t.Parallel()
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		config := single(t)
		adjust(&config)
		n := lead(t, config)
		for range 5 {
			put(t, n, "k", "v")
		}
		if err := n.consensus.compact(2); err != nil {
			t.Fatal(err)
		}
		first, err := n.consensus.logs.FirstIndex()
		if err != nil || first < 3 {
			t.Fatalf("the log begins at %d, %v", first, err)
		}
		for index := range first + 1 {
			var l raft.Log
			if err := n.consensus.logs.GetLog(index, &l); errors.Is(err, raft.ErrLogNotFound) != (index < first) {
				t.Errorf("entry %d of a log that begins at %d: %v", index, first, err)
			}
		}
	})
}

// snapshotBegun returns when a node is making a snapshot, and later what became of it.
func snapshotBegun(t *testing.T, n *Node) (ended <-chan error) {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- n.consensus.raft.Snapshot().Error() }()
	eventually(t, "a snapshot is being made", func() bool {
		list, err := named(n.dir.snapshots(), "", unfinished)
		return err == nil && len(list) == 1
	})
	return result
}

// TestSnapshotWaitsForTheRecord: without one a snapshot is not finished, for some time; what
// is not recorded when the node closes stays in the log.
func TestSnapshotWaitsForTheRecord(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.recordPatience = time.Hour
	n := lead(t, config)
	n.broker.stop() // nothing is published any more
	last := put(t, n, "k", "v")
	ended := snapshotBegun(t, n)
	n.Close() // with a complaint about what it could not publish
	if err := within(t, "the snapshot", func() error { return <-ended }); err == nil {
		t.Error("a snapshot is whole though what it has was not announced")
	}
	if got := record(t, config).Revision; got >= last {
		t.Fatalf("recorded %d, want less than %d", got, last)
	}
	if list, err := n.consensus.snapshots.List(); err != nil || len(list) > 0 {
		t.Errorf("snapshots are %v, %v; want none", list, err)
	}

	config.recordPatience = time.Millisecond
	n = lead(t, config)
	n.broker.stop()
	put(t, n, "k", "w")
	takeSnapshot(t, n)
	n.Close()
}

// TestSnapshotIsGivenUp as soon as the node closes, however much of it is left to be written,
// also where all of it was announced.
func TestSnapshotIsGivenUp(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	var last uint64
	for i := range 8 {
		last = put(t, n, fmt.Sprintf("k.%d", i), strings.Repeat("x", 200<<10))
	}
	eventually(t, "all is announced", func() bool { known, _ := n.announced.get(); return known.Revision >= last })
	asked, over := 0, n.compaction.over
	n.compaction.over = func() error {
		if asked++; asked == 3 {
			n.leave()
		}
		return over()
	}
	if err := n.consensus.raft.Snapshot().Error(); err == nil || !strings.Contains(err.Error(), ErrClosed.Error()) {
		t.Errorf("error is %v; want that the node closes", err)
	}
	if files, err := os.ReadDir(n.dir.snapshots()); err != nil || len(files) > 0 {
		t.Errorf("snapshots are %v, %v; want none", files, err)
	}
	if asked != 3 {
		t.Errorf("it went on until it had looked %d times; want 3", asked)
	}
	if err := n.end(); err != nil {
		t.Error(err)
	}
	close(n.closed)
}

// TestRestoreBesideSnapshot: a backup is restored while a snapshot waits for its record. The
// leader has the restored state for a node that was away.
func TestRestoreBesideSnapshot(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3, func(c *Config) { c.recordPatience = time.Hour })
	leader, others := split(t, nodes)
	put(t, leader, "in.backup", "v")
	backup, _ := backupOf(t, leader)
	down := others[0]
	stop(t, down)
	for i := range 20 {
		put(t, leader, fmt.Sprintf("k.%d", i%4), "x")
	}
	leader.publisherConn.Close() // nothing is announced any more
	put(t, leader, "not.announced", "x")
	ended := snapshotBegun(t, leader)
	restoreInto(t, leader, backup)
	if err := within(t, "the snapshot", func() error { return <-ended }); err == nil {
		t.Error("a snapshot of what was there before the restore is whole")
	}
	last := put(t, leader, "after", "v")
	again := start(t, down.config)
	eventually(t, "the node that was away has caught up", func() bool { return again.Revision() >= last })
}
