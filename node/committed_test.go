package node

import (
	"testing"

	"github.com/hashicorp/raft"
)

// TestCommitBehindWhatIsSent: a leader tells a node that more is committed than it has sent. The
// node has entries there, of an office before, which are not what is committed.
func TestCommitBehindWhatIsSent(t *testing.T) {
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		nodes := clusterOf(t, 3, adjust)
		leader, others := split(t, nodes)
		node := others[0]
		put(t, leader, "k", "v")
		end := leader.consensus.raft.LastIndex()
		eventually(t, "it has all", func() bool { return node.consensus.raft.AppliedIndex() >= end })
		stop(t, leader)
		stop(t, others[1])
		last, term := lastEntry(t, node), node.consensus.raft.CurrentTerm()
		before, next := ghostOf(t, leader), ghostOf(t, others[1])
		before.append(node, term+1, last, 3)
		if !next.send(node, &raft.AppendEntriesRequest{RPCHeader: next.header(), Term: term + 2, PrevLogEntry: last.Index, PrevLogTerm: last.Term, LeaderCommitIndex: last.Index + 1}) {
			t.Fatal("it does not follow")
		}
		if got := node.consensus.raft.CommitIndex(); got != last.Index {
			t.Errorf("it takes entries up to %d for committed; it was sent those up to %d", got, last.Index)
		}
	})
}

// TestCommitBehindASnapshot: as before, and the node has an older snapshot for a log. What is
// committed comes to its state machine when it has been sent.
func TestCommitBehindASnapshot(t *testing.T) {
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		s := newSetBack(t, adjust)
		s.send()
		above := s.node.consensus.raft.CommitIndex() + 1 // it has led
		request := func(behind raft.Log, entries ...*raft.Log) {
			t.Helper()
			if !s.from.send(s.node, &raft.AppendEntriesRequest{RPCHeader: s.from.header(), Term: s.term, PrevLogEntry: behind.Index, PrevLogTerm: behind.Term, Entries: entries, LeaderCommitIndex: above}) {
				t.Fatalf("%d entries behind %d are refused", len(entries), behind.Index)
			}
		}
		request(s.end())
		if got := s.node.consensus.raft.AppliedIndex(); got != s.end().Index {
			t.Errorf("it has applied what it was not sent, up to %d", got)
		}
		var entries []*raft.Log
		for index := s.end().Index + 1; index <= above; index++ {
			entries = append(entries, &raft.Log{Index: index, Term: s.term, Type: raft.LogNoop})
		}
		request(s.end(), entries...)
		if got := s.node.consensus.raft.AppliedIndex(); got != above {
			t.Errorf("it has applied entries up to %d; want %d", got, above)
		}
	})
}
