package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// promoteLag is how many log entries a non-voter may lack to become a voter. With
// writes going on it never has them all; what is left takes milliseconds.
const promoteLag = 1024

// checkCaughtUp refuses to give a vote to a node that could not use it:
// [ErrNotCaughtUp].
func (e *epoch) checkCaughtUp(ctx context.Context, s raft.Server) error {
	n := e.node
	err := e.heard(ctx, func() bool { return n.answers(s.ID, e.term) })
	if errors.Is(err, errSilent) {
		return fmt.Errorf("%w: %s does not answer at %s; is it running?", ErrNotCaughtUp, s.ID, s.Address)
	}
	if err != nil {
		return err
	}
	committed := n.consensus.raft.CommitIndex()
	if k, _ := n.consensus.acks.of(s.ID, e.term); k.lastIndex+promoteLag < committed {
		return fmt.Errorf("%w: %s has the log up to %d of %d; wait", ErrNotCaughtUp, s.ID, k.lastIndex, committed)
	}
	return nil
}

// checkWithout refuses to take a voter's vote where the cluster could not go on
// without: [ErrLastVoter], or [ErrNoQuorum].
func (e *epoch) checkWithout(ctx context.Context, id string) error {
	n := e.node
	if !n.votes(id) {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(n.servers()), func(s raft.Server) bool { return string(s.ID) == id })
	if !slices.ContainsFunc(left, func(s raft.Server) bool { return s.Suffrage == raft.Voter }) {
		return fmt.Errorf("%w: without %s the cluster would end; add or promote another node first", ErrLastVoter, id)
	}
	err := e.heard(ctx, func() bool {
		return majority(left, func(voter raft.ServerID) bool { return n.answers(voter, e.term) })
	})
	if errors.Is(err, errSilent) {
		return fmt.Errorf("%w: too few of the voters beside %s answer; bring one back, or remove one that is gone for good first", ErrNoQuorum, id)
	}
	return err
}

var errSilent = errors.New("not heard of") // never leaves this file

// heard waits until ok holds of what was heard of the others, at most for an election
// timeout: of a node that is new, or whose leader is, nothing may have been heard yet.
func (e *epoch) heard(ctx context.Context, ok func() bool) error {
	timeout := time.NewTimer(e.node.config.ElectionTimeout)
	defer timeout.Stop()
	for {
		next := e.node.consensus.acks.next()
		if ok() {
			return nil
		}
		select {
		case <-next:
		case <-e.over:
			return ErrNotLeader
		case <-timeout.C:
			return errSilent
		case <-ctx.Done():
			return errSilent
		}
	}
}

// answers reports whether a node has answered a heartbeat of this leader's within an
// election timeout.
func (n *Node) answers(id raft.ServerID, term uint64) bool {
	k, ok := n.consensus.acks.of(id, term)
	return id == n.self() || ok && time.Since(k.heard) <= n.config.ElectionTimeout
}
