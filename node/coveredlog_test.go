package node

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// TestRestoreBelowOldLeader: a backup is restored while a leader that has lost the others has
// more in its log than they have. It follows when it is back, though what it is sent lies
// below the end of its log.
func TestRestoreBelowOldLeader(t *testing.T) {
	t.Parallel()
	below(t, func(t *testing.T, w *network, old *Node) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		last := old.consensus.raft.LastIndex()
		for range 50 { // which nobody else has
			go old.Put(ctx, "uncommitted", nil)
		}
		eventually(t, "it has more in its log", func() bool { return old.consensus.raft.LastIndex() >= last+50 })
	})
}

// TestRestoreAgainBelow: a leader that lost the others within a restore has restored far above
// what they have. To restore again makes all the same.
func TestRestoreAgainBelow(t *testing.T) {
	t.Parallel()
	below(t, func(t *testing.T, w *network, old *Node) {
		restoreAlone(t, old)
	})
}

// restoreAlone has a leader that has lost the others restore what it has, far above.
func restoreAlone(t *testing.T, leader *Node) {
	t.Helper()
	const above = 1000
	b, last := leader.machine.Backup(), leader.Revision()
	cluster, _ := leader.machine.Cluster()
	if err := b.MoveTo(cluster, last+above); err != nil {
		t.Fatal(err)
	}
	err := within(t, "restore", func() error { return leader.install(b, last+above, 0) }) // without the barrier
	wantOneLine(t, err, ErrUnknownOutcome, "restore it again")
}

// TestFollowsAfterARestoreAlone: a leader that lost the others within a restore follows the next
// one, which has all entries from the first one on, and no backup is restored again. It takes
// none of them, so that leader has a snapshot take the place of the first.
func TestFollowsAfterARestoreAlone(t *testing.T) {
	t.Parallel()
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		w := newNetwork(t, adjust)
		old, others := split(t, w.nodes)
		put(t, old, "k", "v")
		watcher := watch(t, old, "after")
		w.apart(old).each(func(k *link) { k.refuse(true) })
		restoreAlone(t, old)
		next := leaderAmong(t, others)
		put(t, next, "next", "v")
		w.apart(old).heal()
		sameState(t, w.nodes)
		for _, n := range others {
			if n != next {
				stop(t, n)
			}
		}
		last := put(t, next, "after", "v") // a majority with the one that was behind
		if e, err := old.Get(bounded(t), "after", Stale(last)); err != nil || string(e.Value) != "v" {
			t.Errorf("it has %+v, %v", e, err)
		}
		told(t, old, watcher, "after", "v")
		if trailing := next.consensus.raft.ReloadableConfig().TrailingLogs; trailing < leastTrailing {
			t.Errorf("the leader keeps only %d entries for nodes that lag from now on", trailing)
		}
	})
}

// below cuts a leader off, has alone make it get ahead of the others, which restore a backup
// then, and holds that it follows them afterwards.
func below(t *testing.T, alone func(t *testing.T, w *network, old *Node)) {
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		w := newNetwork(t, adjust)
		old, others := split(t, w.nodes)
		put(t, old, "k", "then")
		backup, _ := backupOf(t, old)
		put(t, old, "k", "now")
		watcher := watch(t, old, "after")
		w.apart(old).each(func(k *link) { k.refuse(true) })
		alone(t, w, old)
		next := leaderAmong(t, others)
		r, err := next.Restore(bounded(t), bytes.NewReader(backup))
		if err != nil {
			t.Fatal(err)
		}
		if end := old.consensus.raft.LastIndex(); end <= r.Revision+1 {
			t.Fatalf("the old leader has entries up to %d, and the backup was restored at %d", end, r.Revision)
		}
		w.apart(old).heal()
		put(t, next, "after", "v")
		sameState(t, w.nodes)
		wantEntry(t, old, "k", "then")
		told(t, old, watcher, "after", "v")
		watcher = watch(t, old, "again")
		put(t, next, "again", "v")
		told(t, old, watcher, "again", "v")
	})
}

// onDiskAndInMemory runs a test with either kind of nodes.
func onDiskAndInMemory(t *testing.T, test func(t *testing.T, adjust func(*Config))) {
	for name, adjust := range map[string]func(*Config){"on disk": func(*Config) {}, "in memory": inMemory} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, adjust)
		})
	}
}

// told waits until a watcher has a key's last value, or is told to read when the store has it.
func told(t *testing.T, n *Node, w *fanout.Watcher, key, value string) {
	t.Helper()
	for {
		e := next(t, w)
		now, err := n.machine.Get(key)
		if e.Op == fanout.Put && string(e.Value) == value || e.Op == fanout.Reset && err == nil && string(now.Value) == value {
			return
		}
	}
}

func wantEntry(t *testing.T, n *Node, key, value string) {
	t.Helper()
	if e, err := n.Get(bounded(t), key, Stale(0)); err != nil || string(e.Value) != value {
		t.Errorf("%s has %q of %s, %v; want %q", n.ID(), e.Value, key, err, value)
	}
}

// TestCoveredLog: of a log that a snapshot has emptied Raft finds what the leader's entries
// follow on, and something that they replace; of that, only what they follow on once there is an entry.
func TestCoveredLog(t *testing.T) {
	snapshots := newStanding(&memSnapshots{}, 1, func(_ string, do func() error) error { return do() })
	log := &coveredLog{LogStore: raft.NewInmemStore(), snapshots: snapshots}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	term := func(index uint64) (term uint64, ok bool) {
		t.Helper()
		var l raft.Log
		err := log.GetLog(index, &l)
		if err != nil && !errors.Is(err, raft.ErrLogNotFound) || err == nil && l.Index != index {
			t.Fatalf("entry %d: index %d, %v", index, l.Index, err)
		}
		return l.Term, err == nil
	}
	want := func(when string, entries map[uint64]uint64) {
		t.Helper()
		for index := range uint64(8) {
			got, ok := term(index)
			if wanted, there := entries[index]; ok != there || got != wanted {
				t.Errorf("%s: entry %d is there: %v, of term %d; want %v, %d", when, index, ok, got, there, wanted)
			}
		}
	}
	for index := uint64(1); index <= 6; index++ {
		do(log.StoreLog(&raft.Log{Index: index, Term: 1}))
	}
	do(log.DeleteRange(1, 2))
	want("cut at its beginning", map[uint64]uint64{3: 1, 4: 1, 5: 1, 6: 1})
	sink, err := snapshots.Create(1, 4, 2, raft.Configuration{}, 1, nil)
	do(err)
	do(sink.Close())
	do(log.DeleteRange(3, 6))
	want("emptied", map[uint64]uint64{4: 2, 5: 0, 6: 0})
	do(log.DeleteRange(5, 6))
	want("cut where it has nothing", map[uint64]uint64{4: 2, 5: 0, 6: 0})
	do(log.StoreLog(&raft.Log{Index: 5, Term: 2}))
	want("followed", map[uint64]uint64{4: 2, 5: 2}) // the next leader's may follow on the snapshot, too
}

var _ raft.MonotonicLogStore = (*coveredLog)(nil)
