package node

import (
	"testing"

	"github.com/hashicorp/raft"
)

// TestNoVoteBelowSnapshot: a node that was sent a snapshot below the end of its log, and
// nothing behind it yet, does not vote for one whose log has that end and lacks what is in the
// snapshot. With the next entry it votes again.
func TestNoVoteBelowSnapshot(t *testing.T) {
	t.Parallel()
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		nodes := clusterOf(t, 3, adjust)
		leader, others := split(t, nodes)
		node, other := others[0], others[1]
		put(t, leader, "k", "v")
		if err := leader.consensus.compact(leastTrailing); err != nil {
			t.Fatal(err)
		}
		snapshot, data := newestSnapshot(t, leader)
		end := leader.consensus.raft.LastIndex()
		eventually(t, "it has all", func() bool { return node.consensus.raft.AppliedIndex() >= end })
		stop(t, leader)
		stop(t, other)
		from, candidate, last, term := ghostOf(t, leader), ghostOf(t, other), lastEntry(t, node), node.consensus.raft.CurrentTerm()

		// A leader that loses office has it store more than will be committed, and the next
		// one goes on from a snapshot that lies below.
		from.append(node, term+1, last, 40)
		older := raft.Log{Index: last.Index + 40, Term: term + 1}
		snapshot.Index, snapshot.Term = last.Index+10, term+2
		if answer, err := from.install(node, term+2, snapshot, data); err != nil || !answer.Success {
			t.Fatalf("the snapshot: %+v, %v", answer, err)
		}
		if candidate.votes(node, term+3, older) {
			t.Error("it votes for a log without what the snapshot has committed")
		}
		from.append(node, term+4, raft.Log{Index: snapshot.Index, Term: snapshot.Term}, 1)
		if candidate.votes(node, term+5, older) {
			t.Error("it votes for a log that is older than its own")
		}
		if !candidate.votes(node, term+6, raft.Log{Index: snapshot.Index + 1, Term: term + 4}) {
			t.Error("it does not vote for a log like its own")
		}
	})
}
