package node

import (
	"testing"

	"github.com/hashicorp/raft"
)

// TestLateSnapshot: a snapshot that comes late, when the node has gone on, changes nothing: the
// node keeps what it has acknowledged since, which is there when it leads.
func TestLateSnapshot(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "k", "then")
	if err := leader.consensus.compact(leastTrailing); err != nil {
		t.Fatal(err)
	}
	stop(t, others[1]) // so that only the other one has what comes now
	node := others[0]
	w := watch(t, node, ">")
	last := put(t, leader, "k", "now")
	eventually(t, "it has committed that", func() bool { return node.consensus.raft.CommitIndex() >= last })
	sendSnapshot(t, leader, node)
	if e := next(t, w); e.Revision != last {
		t.Errorf("a watcher received %+v; want revision %d", e, last)
	}
	wantEntry(t, node, "k", "now")
	if err := leader.handOver(bounded(t)); err != nil {
		t.Fatal(err)
	}
	waitReady(t, node)
	wantValue(t, node, "k", "now", last)
	after := put(t, node, "k", "after")
	if e := next(t, w); e.Revision != after {
		t.Errorf("then it received %+v; want revision %d", e, after)
	}
}

// sendSnapshot sends the leader's newest snapshot to another node, as the leader does.
func sendSnapshot(t *testing.T, leader, to *Node) {
	t.Helper()
	meta, data := newestSnapshot(t, leader)
	if answer, err := ghostOf(t, leader).install(to, leader.consensus.raft.CurrentTerm(), meta, data); err != nil || !answer.Success {
		t.Fatalf("%+v, %v", answer, err)
	}
}

// TestSnapshotSentTwice: where the answer to a snapshot is lost it is sent again, and changes
// nothing; watchers read again once.
func TestSnapshotSentTwice(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	leader, others := split(t, nodes)
	node := others[0]
	links[node.ID()].refuse(true)
	put(t, leader, "k", "what it is behind")
	if err := leader.consensus.compact(leastTrailing); err != nil {
		t.Fatal(err)
	}
	stop(t, leader)
	stop(t, others[1])
	links[node.ID()].refuse(false)
	term := node.consensus.raft.CurrentTerm() + 1
	w := watch(t, node, ">")
	send := func() {
		t.Helper()
		snapshot, data := newestSnapshot(t, leader)
		if answer, err := ghostOf(t, leader).install(node, term, snapshot, data); err != nil || !answer.Success {
			t.Fatalf("%+v, %v", answer, err)
		}
	}
	send()
	told := next(t, w).Revision
	send()
	if again := node.ring.Revision(); again != told {
		t.Errorf("its watchers were told to read again up to revision %d, and then up to %d", told, again)
	}
}

// TestSnapshotBehindARestoreAlone: a leader that has restored a backup which nobody else has
// heard of takes what the next one sends, though that lies below what it once had committed.
func TestSnapshotBehindARestoreAlone(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	node, others := split(t, nodes)
	revision := put(t, node, "k", "v")
	if err := node.consensus.compact(leastTrailing); err != nil {
		t.Fatal(err)
	}
	snapshot, data := newestSnapshot(t, node)
	put(t, node, "k", "w")
	from := ghostOf(t, others[0])
	stop(t, others[0])
	stop(t, others[1])
	const above = 1000
	b := node.machine.Backup()
	cluster, _ := node.machine.Cluster()
	if err := b.MoveTo(cluster, node.Revision()+above); err != nil {
		t.Fatal(err)
	}
	err := within(t, "restore", func() error { return node.install(b, node.Revision()+above, 0) }) // without the barrier
	wantOneLine(t, err, ErrUnknownOutcome, "restore it again")
	term := node.consensus.raft.CurrentTerm() + 1
	from.append(node, term, raft.Log{}, 0) // it leads
	if answer, err := from.install(node, term, snapshot, data); err != nil || !answer.Success {
		t.Fatalf("the snapshot: %+v, %v", answer, err)
	}
	if got := node.Revision(); got != revision {
		t.Errorf("it stands at revision %d; want %d", got, revision)
	}
}
