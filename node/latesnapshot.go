package node

import (
	"io"
	"strconv"

	"github.com/hashicorp/raft"
)

// has reports whether the node has what a snapshot from its leader holds. Such a one is late: it
// lay in the network until the leader had sent it again, by another connection, and the node had
// gone on. Raft would go back to it and drop its log, and with that entries that it has
// acknowledged.
//
// What is committed is the same everywhere, so that the snapshot ends at or below it is enough;
// or that it is the one which the node installed last, behind which Raft does not know yet how
// much is committed. Of another term Raft has more to see to. What is committed is not all here
// where the node has installed more than that: a backup that it restored alone has taken the
// place of it. Nor is it where a snapshot has set it back, behind which it has not applied as
// much again.
func (i *incoming) has(request *raft.InstallSnapshotRequest) bool {
	r := i.raft.Load()
	if r == nil || request.Term != r.CurrentTerm() {
		return false
	}
	index, term := installed(r)
	same := index == request.LastLogIndex && term == request.LastLogTerm
	return same || max(index, request.LastLogIndex) <= min(r.CommitIndex(), r.AppliedIndex())
}

// installed returns where the state stands that Raft has received, restored or saved last.
func installed(r *raft.Raft) (index, term uint64) {
	stats := r.Stats()
	for key, value := range map[string]*uint64{"last_snapshot_index": &index, "last_snapshot_term": &term} {
		*value, _ = strconv.ParseUint(stats[key], 10, 64) // Raft writes it so
	}
	return index, term
}

// answer takes what is sent, which the next call on the connection stands behind.
func (i *incoming) answer(rpc raft.RPC, request *raft.InstallSnapshotRequest) {
	_, err := io.Copy(io.Discard, rpc.Reader)
	rpc.Respond(&raft.InstallSnapshotResponse{RPCHeader: request.RPCHeader, Term: request.Term, Success: err == nil}, err)
}
