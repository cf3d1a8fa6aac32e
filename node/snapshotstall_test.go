package node

import (
	"bytes"
	"io"
	"testing"

	"github.com/hashicorp/raft"
)

// TestLeaderGoesWithinSnapshot: a leader falls silent in the middle of a snapshot that it
// sends. The node that it sends it to has another one elected.
func TestLeaderGoesWithinSnapshot(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "k", "v")
	const size = 1 << 20
	rest, silent := io.Pipe()
	sent := make(chan error, 1)
	meta := &raft.SnapshotMeta{Version: 1, Index: leader.consensus.raft.LastIndex() + 1000, Term: 1, Size: size}
	go func() {
		_, err := ghostOf(t, leader).install(others[0], leader.consensus.raft.CurrentTerm(), meta, io.MultiReader(bytes.NewReader(make([]byte, size/2)), rest))
		sent <- err
	}()
	eventually(t, "it is sent the first half", func() bool {
		written, err := named(others[0].dir.snapshots(), "", unfinished)
		return err == nil && len(written) > 0
	})
	stop(t, leader)
	put(t, leaderAmong(t, others), "k", "w")
	silent.Close()
	if err := within(t, "the snapshot", func() error { return <-sent }); err == nil {
		t.Error("half a snapshot was taken")
	}
}
