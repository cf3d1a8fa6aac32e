package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestLeaderGoesWithinTransfer: a heartbeat of the leader comes to a node to which it has just
// handed over, and then the leader is gone, and with it the majority. Raft goes on naming it;
// the node says that there is no leader.
func TestLeaderGoesWithinTransfer(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 2)
	leader, others := split(t, nodes)
	n := others[0]
	put(t, leader, "k", "v")
	own, from := leader.self(), ghostOf(t, leader)
	stop(t, leader)
	eventually(t, "it leads no more, to which the other has handed over", func() bool {
		e, _ := n.currentEpoch()
		return e == nil && n.consensus.raft.State() != raft.Leader
	})
	eventually(t, "Raft names a leader who is gone", func() bool {
		from.handOver(n)
		from.heartbeat(n) // of no effect if the node is in the next term meanwhile
		_, named := n.consensus.raft.LeaderWithID()
		return named == own && n.consensus.raft.State() == raft.Candidate
	})
	if l := n.Leader(); l != "" {
		t.Errorf("the leader is %q", l)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := n.Put(ctx, "k", nil); !errors.Is(err, ErrNoLeader) {
		t.Errorf("a write: %v; want %v", err, ErrNoLeader)
	}
}
