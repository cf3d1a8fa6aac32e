package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// transferLeadership hands over to another node, if there is one, so that the
// cluster need not notice first that this one is gone.
func (n *Node) transferLeadership() error {
	if n.Leader() != n.config.ID || !n.hasOtherVoter() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), transferTime)
	defer cancel()
	if err := n.handOver(ctx); err != nil {
		n.log.Warn("the others have to notice that this node is gone", "error", err)
	}
	return nil
}

// hasOtherVoter reports whether another node could lead.
func (n *Node) hasOtherVoter() bool {
	return slices.ContainsFunc(n.servers(), func(s raft.Server) bool { return s.Suffrage == raft.Voter && s.ID != n.self() })
}

// handOver makes the most up-to-date other voter lead, and returns when this node
// does not any more.
func (n *Node) handOver(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- n.consensus.raft.LeadershipTransfer().Error() }() // ends by itself, within two election timeouts
	select {
	case err := <-done:
		switch {
		case err == nil:
			return nil
		case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
			return ErrNotLeader
		}
		return fmt.Errorf("%w: %w", ErrNoTransfer, err)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNoTransfer, context.Cause(ctx))
	}
}

const transferTime = 2 * time.Second // to hand leadership over on Close
