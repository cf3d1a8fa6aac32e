package node

import (
	"bytes"
	"errors"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// TestRestoreReachesLaggingNode: a node that hears nothing while a backup is restored
// has it when it hears again, and its watchers are told.
func TestRestoreReachesLaggingNode(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	leader, others := split(t, nodes)
	kept := put(t, leader, "kept", "then")
	backup, _ := backupOf(t, leader)
	seen := put(t, leader, "kept", "now")
	behind := others[0]
	if _, err := behind.Get(bounded(t), "kept", Stale(seen)); err != nil {
		t.Fatal(err)
	}
	w := watch(t, behind, ">")
	links[behind.ID()].refuse(true)
	r := restoreInto(t, leader, backup)
	after := put(t, leader, "after", "v")
	if e, ok := w.TryNext(); ok || behind.Revision() != seen {
		t.Fatalf("the node that is cut off is at %d and received %+v", behind.Revision(), e)
	}
	links[behind.ID()].refuse(false)
	wantReset(t, w, r.Revision)
	if e := next(t, w); e.Revision != after {
		t.Errorf("then came %+v; want revision %d", e, after)
	}
	if e, err := behind.Get(bounded(t), "kept", Stale(after)); err != nil || string(e.Value) != "then" || e.Revision != kept {
		t.Errorf("it has %+v, %v", e, err)
	}
	sameState(t, nodes)
}

// TestRestoreReachesNodeThatWasDown: the same for a node that was not even running. A
// watch from where it was either receives the Reset or is refused.
func TestRestoreReachesNodeThatWasDown(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "kept", "then")
	backup, _ := backupOf(t, leader)
	seen := put(t, leader, "kept", "now")
	down := others[0]
	stop(t, down)
	r := restoreInto(t, leader, backup)
	after := put(t, leader, "after", "v")

	back := start(t, down.config)
	w, err := back.Watch(t.Context(), ">", fanout.FromRevision(seen+1))
	switch compacted := (*fanout.CompactedError)(nil); {
	case err == nil:
		wantReset(t, w, r.Revision)
		if e := next(t, w); e.Revision != after {
			t.Errorf("then came %+v; want revision %d", e, after)
		}
	case !errors.As(err, &compacted) || compacted.Oldest <= r.Revision:
		t.Errorf("watch from %d: %v; want to be told that all up to %d is gone", seen+1, err, r.Revision)
	}
	if e, err := back.Get(bounded(t), "kept", Stale(after)); err != nil || string(e.Value) != "then" {
		t.Errorf("it has %+v, %v", e, err)
	}
	sameState(t, []*Node{leader, others[1], back})
}

// TestRestoreNeedsMajority: a leader that is alone does not begin.
func TestRestoreNeedsMajority(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "k", "then")
	backup, _ := backupOf(t, leader)
	last := put(t, leader, "k", "now")
	for _, n := range others {
		links[n.ID()].refuse(true)
	}
	if _, err := leader.Restore(bounded(t), bytes.NewReader(backup)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("restore without a majority: %v; want %v", err, ErrNotLeader)
	}
	if leader.Revision() != last {
		t.Errorf("it is at revision %d; want %d", leader.Revision(), last)
	}
}

// TestRestoreInterrupted: a leader that lost all others after it had replaced its own
// state does not know the outcome, and says so; to restore again makes all nodes the
// same, whoever leads by then.
func TestRestoreInterrupted(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	leader, others := split(t, nodes)
	kept := put(t, leader, "kept", "then")
	backup, _ := backupOf(t, leader)
	last := put(t, leader, "kept", "now")
	for _, n := range others {
		links[n.ID()].refuse(true)
	}
	// Without the barrier, which would show that the others are gone.
	b, err := fsm.ReadBackup(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	cluster, _ := leader.machine.Cluster()
	if err := b.MoveTo(cluster, last+1); err != nil {
		t.Fatal(err)
	}
	err = within(t, "restore", func() error { return leader.install(b, last+1, 0) })
	wantOneLine(t, err, ErrUnknownOutcome, "restore it again")
	if leader.Revision() != last+1 {
		t.Fatalf("it is at revision %d; want %d", leader.Revision(), last+1)
	}
	for _, n := range others {
		links[n.ID()].refuse(false)
	}
	var r Restored
	eventually(t, "the backup is restored again", func() bool {
		for _, n := range nodes {
			if r, err = n.Restore(bounded(t), bytes.NewReader(backup)); err == nil {
				return true
			}
		}
		return false
	})
	sameState(t, nodes)
	for _, n := range nodes {
		if e, err := n.Get(bounded(t), "kept", Stale(r.Revision)); err != nil || e.Revision != kept {
			t.Errorf("%s has %+v, %v", n.ID(), e, err)
		}
	}
}

// TestRestoreOutlivesLossOfLeadership: the same with a node that comes back in time: it
// needs no second restore.
func TestRestoreOutlivesLossOfLeadership(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	leader, others := split(t, nodes)
	kept := put(t, leader, "kept", "then")
	b := leader.machine.Backup()
	last := put(t, leader, "kept", "now")
	behind := others[0]
	stop(t, others[1]) // so that nobody can lead without what the leader has
	links[behind.ID()].refuse(true)
	cluster, _ := leader.machine.Cluster()
	if err := b.MoveTo(cluster, last+10); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- leader.install(b, last+10, patience) }()
	eventually(t, "the leader has restored it, and lost leadership", func() bool {
		return leader.Revision() == last+10 && leader.Leader() == ""
	})
	links[behind.ID()].refuse(false)
	if err := within(t, "the restore", func() error { return <-done }); err != nil {
		t.Fatalf("the restore: %v", err)
	}
	sameState(t, []*Node{leader, behind})
	for _, n := range []*Node{leader, behind} {
		if e, err := n.Get(bounded(t), "kept", Stale(last+10)); err != nil || e.Revision != kept {
			t.Errorf("%s has %+v, %v", n.ID(), e, err)
		}
	}
}
