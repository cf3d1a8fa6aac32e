package node

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestUncommittedRemovalWhileJoining: a node that joins asks for its vote just when the leader
// has begun to remove it, and is lost before anybody else hears of that. The node stays a
// member, and gets its vote from the next leader.
func TestUncommittedRemovalWhileJoining(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "k", "v")
	asked := links[leader.ID()]
	asked.hold(true, false)
	n := join(t, joiner(t, leader, "n4"))
	eventually(t, "it asks for its vote", func() bool {
		asked.mu.Lock()
		defer asked.mu.Unlock()
		return asked.held[into] > 0
	})
	for _, other := range others {
		links[other.ID()].refuse(true)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := leader.Remove(ctx, "n4"); !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("remove without a majority: %v; want %v", err, ErrUnknownOutcome)
	}
	asked.heal()
	eventually(t, "the leader is lost", func() bool { e, _ := leader.currentEpoch(); return e == nil })
	stop(t, leader)
	for _, other := range others {
		links[other.ID()].heal()
	}
	awaitMember(t, leaderAmong(t, others), "n4", true)
	if n.removed.Load() {
		t.Error("it says that it was removed")
	}
}
