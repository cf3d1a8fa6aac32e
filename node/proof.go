package node

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// proveLeadership returns nil if this node led, with everything of earlier terms
// applied, at some moment after the call: a majority follow it in its term, and
// said so to a question that was asked after the call. A leader of a later term
// needs one of them, who would have answered with that term. It blocks for as long
// as this node leads without a majority, which is the leader's lease.
func (n *Node) proveLeadership() error {
	e, changed := n.currentEpoch()
	if e == nil {
		return ErrNotLeader
	}
	proof := n.consensus.heard.begin()
	// Raft's proof has every peer asked at once. What it proves by itself is not
	// enough; see heard.
	if err := n.consensus.raft.VerifyLeader().Error(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	for {
		servers := n.consensus.raft.GetConfiguration().Configuration().Servers
		ok, answered := n.consensus.heard.majority(raft.ServerID(n.config.ID), servers, e.term, proof)
		if ok {
			break
		}
		select {
		case <-answered:
		case <-changed:
			return ErrNotLeader
		}
	}
	// It may have been superseded and elected again meanwhile, and not have
	// applied what came in between.
	if n.consensus.raft.CurrentTerm() != e.term {
		return ErrNotLeader
	}
	return nil
}
