package node

import (
	"errors"

	"github.com/hashicorp/raft"
)

// abstaining is the store of Raft's votes, and takes none while Raft believes in an end of its
// log that is gone. Raft compares with that end whose log is the newer one. It is of an older
// term than the snapshot which took its place, as a rule, so the node would vote for one that
// lacks what this snapshot has committed; and what it has stored counts for a majority. Its
// own election it would begin with a vote, too.
//
// The next entry from the leader ends that, as does a restart. After a backup that the node
// restored alone it takes more; see [standing].
type abstaining struct {
	raft.StableStore
	log *coveredLog
}

var errNoEnd = errors.New("node: no vote until enough follows on the snapshot that was received")

const lastVoteTerm = "LastVoteTerm" // Raft's key, which it stores first for a vote

// SetUint64 implements [raft.StableStore].
func (a abstaining) SetUint64(key []byte, value uint64) error {
	if string(key) == lastVoteTerm && (a.log.believed() || a.log.snapshots.owes()) {
		return errNoEnd
	}
	return a.StableStore.SetUint64(key, value)
}
