package node

import "github.com/hashicorp/raft"

// boundCommit takes from what a leader says is committed whatever lies behind the entries that
// it sends. Raft does not look at more than the end of its own log there, and what the log has
// behind the leader's entries may be of an office before, and never have been committed, or, of
// a log that a snapshot took the place of, not be there at all; see [coveredLog].
//
// A leader says more than it sends where an entry is committed, by the others, between when it
// looks at how far its log goes and when it looks at how far that is committed.
func boundCommit(r *raft.AppendEntriesRequest) {
	r.LeaderCommitIndex = min(r.LeaderCommitIndex, r.PrevLogEntry+uint64(len(r.Entries)))
}
