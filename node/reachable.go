package node

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// reachable offers Raft the snapshots that it may start from: the newest one and, if that is
// damaged, those before it that the log follows on. From another one Raft would begin with
// less than the node has acknowledged, where no entry is left that would show the gap. One that
// Raft could open, and goes on from to the next one, it could not restore.
type reachable struct {
	*standing
	known   *knownSnapshots
	logs    raft.LogStore
	started atomic.Bool // all are offered
	opened  string      // until then, the one that Raft is at
}

// List implements [raft.SnapshotStore].
func (r *reachable) List() ([]*raft.SnapshotMeta, error) {
	list, err := r.standing.List()
	if err != nil || r.started.Load() || len(list) == 0 {
		return list, err
	}
	first, err := r.logs.FirstIndex() // 0 if it is empty
	if err != nil {
		return nil, err
	}
	newest := list[0]
	return slices.DeleteFunc(list, func(m *raft.SnapshotMeta) bool {
		follows := m.Index == newest.Index || first > 0 && first <= m.Index+1
		return m != newest && !follows
	}), nil
}

// Open implements [raft.SnapshotStore]. Until Raft has started one goroutine calls it.
func (r *reachable) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if r.started.Load() {
		return r.standing.Open(id)
	}
	if r.opened != "" {
		r.known.note(r.opened, errors.New("it cannot be restored"))
	}
	m, in, err := r.standing.Open(id)
	if err == nil {
		r.opened = id
	}
	return m, in, err
}
