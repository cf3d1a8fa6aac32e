package node

import (
	"bytes"
	"io"
	"testing"

	"github.com/hashicorp/raft"
)

// TestCommitBehindWhatIsSent: a leader tells a node that more is committed than it has sent. The
// node has entries there, of an office before, which are not what is committed.
func TestCommitBehindWhatIsSent(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestEndThatIsGone: a node got a backup of a leader that restored it with a minority, and then
// the older snapshot that the next leader goes on from. A later leader finds nothing at the end
// that the node's log once had, though its own log has the same there.
func TestEndThatIsGone(t *testing.T) {
	t.Parallel()
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		nodes := clusterOf(t, 3, adjust)
		node, others := split(t, nodes)
		put(t, node, "k", "v")
		if err := node.consensus.compact(leastTrailing); err != nil {
			t.Fatal(err)
		}
		snapshot, in := newestSnapshot(t, node)
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		put(t, node, "k", "w")
		last, term := lastEntry(t, node), node.consensus.raft.CurrentTerm()
		for _, n := range others {
			stop(t, n)
		}
		from := ghostOf(t, others[0])
		term++
		from.append(node, term, last, 3) // and it has not heard yet that they are committed
		last = raft.Log{Index: last.Index + 3, Term: term}
		install := func(index, of uint64) {
			t.Helper()
			term++
			meta := *snapshot
			meta.Index, meta.Term = index, of
			if answer, err := from.install(node, term, &meta, bytes.NewReader(data)); err != nil || !answer.Success {
				t.Fatalf("the snapshot at %d: %+v, %v", index, answer, err)
			}
		}
		install(last.Index+1000, term+1)
		install(snapshot.Index, snapshot.Term)
		request := &raft.AppendEntriesRequest{RPCHeader: from.header(), Term: term + 1, PrevLogEntry: last.Index, PrevLogTerm: last.Term, LeaderCommitIndex: last.Index}
		if from.send(node, request) {
			t.Error("it agrees to an end that it does not have")
		}
		if got := node.consensus.raft.AppliedIndex(); got != snapshot.Index {
			t.Errorf("it has applied entries up to %d; want %d, the snapshot", got, snapshot.Index)
		}
		from.append(node, term+1, raft.Log{Index: snapshot.Index, Term: snapshot.Term}, 3)
		install(snapshot.Index+3, term) // where the log ends, of another term
		from.append(node, term, raft.Log{Index: snapshot.Index + 3, Term: term - 1}, 3)
	})
}
