package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// checkWithout refuses to take a voter's vote where the cluster could not go on
// without: [ErrLastVoter], or [ErrNoQuorum]. It gives the others an election timeout
// to answer, because a new leader has not heard of all of them yet.
func (e *epoch) checkWithout(ctx context.Context, id string) error {
	n := e.node
	if !n.votes(id) {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(n.servers()), func(s raft.Server) bool { return string(s.ID) == id })
	if !slices.ContainsFunc(left, func(s raft.Server) bool { return s.Suffrage == raft.Voter }) {
		return fmt.Errorf("%w: without %s the cluster would end; add or promote another node first", ErrLastVoter, id)
	}
	timeout := time.NewTimer(n.config.ElectionTimeout)
	defer timeout.Stop()
	for {
		next := n.consensus.acks.next()
		if majority(left, func(voter raft.ServerID) bool { return n.answers(voter, e.term) }) {
			return nil
		}
		select {
		case <-next:
			continue
		case <-e.over:
			return ErrNotLeader
		case <-timeout.C:
		case <-ctx.Done():
		}
		return fmt.Errorf("%w: too few of the voters beside %s answer; bring one back, or remove one that is gone for good first", ErrNoQuorum, id)
	}
}

// answers reports whether a node has answered a heartbeat of this leader's within an
// election timeout.
func (n *Node) answers(id raft.ServerID, term uint64) bool {
	k, ok := n.consensus.acks.of(id, term)
	return id == n.self() || ok && time.Since(k.heard) <= n.config.ElectionTimeout
}
