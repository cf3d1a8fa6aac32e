package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// AddNonvoter makes the node that runs at a Raft address a member without a vote:
// it is sent all data, and counts for no majority. The node must run, be empty or
// of this cluster, be reached by this one, and have the id. A non-voter that is
// there already, at that address, stays.
//
// Like all changes of the membership it works on the leader only ([ErrNotLeader]),
// blocks until a majority of the voters has stored the change or ctx ends, and may
// be called from any goroutine; changes are made one after the other. After
// [ErrUnknownOutcome] it may have been made, after any other error it was not. See
// [ErrBadMember] for the rest.
func (n *Node) AddNonvoter(ctx context.Context, id, address string) error {
	return n.changing(ctx, func(*epoch) error { return n.addNonvoter(ctx, id, address) })
}

func (n *Node) addNonvoter(ctx context.Context, id, address string) error {
	if err := checkMember(id, address); err != nil {
		return err
	}
	known, err := n.checkTaken(id, address)
	if err != nil {
		return err
	}
	if known && n.votes(id) {
		return fmt.Errorf("%w: %s is a voter there; if its data are gone, remove it first, then let it join with an empty data directory", ErrDuplicateMember, id)
	}
	if err := n.checkCandidate(ctx, id, address); err != nil {
		return err
	}
	if known {
		return nil
	}
	if err := n.moveSelf(ctx); err != nil {
		return err
	}
	return n.configure(ctx, "added, without a vote", id, func(timeout time.Duration) raft.IndexFuture {
		return n.consensus.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, timeout)
	})
}

// AddVoter adds a node as [Node.AddNonvoter] does, waits until it has caught up, and
// then promotes it: a node that is still empty would count for the majority and be
// of no use to it. If ctx ends before that, the node stays a non-voter, and the
// error is [ErrNotCaughtUp].
func (n *Node) AddVoter(ctx context.Context, id, address string) error {
	if s, ok := n.member(id); ok && s.Suffrage == raft.Voter && string(s.Address) == address {
		_, err := n.lead(ctx)
		return err
	}
	if err := n.AddNonvoter(ctx, id, address); err != nil {
		return err
	}
	for {
		err := n.Promote(ctx, id)
		if !errors.Is(err, ErrNotCaughtUp) || ctx.Err() != nil {
			return err
		}
		pause(ctx, joinPoll)
	}
}

// Promote makes a non-voter a voter. It must have caught up ([ErrNotCaughtUp]): have
// answered within an election timeout, and lack at most 1,024 log entries. A voter
// stays one. For the rest see [Node.AddNonvoter].
func (n *Node) Promote(ctx context.Context, id string) error {
	return n.changing(ctx, func(e *epoch) error {
		s, ok := n.member(id)
		switch {
		case !ok:
			return n.unknown(id)
		case s.Suffrage == raft.Voter:
			return nil
		}
		if err := e.checkCaughtUp(ctx, s); err != nil {
			return err
		}
		return n.configure(ctx, "promoted to voter", id, func(timeout time.Duration) raft.IndexFuture {
			return n.consensus.raft.AddVoter(s.ID, s.Address, 0, timeout)
		})
	})
}

// Demote makes a voter a non-voter. The leader hands leadership over first. It
// fails with [ErrLastVoter], or [ErrNoQuorum] where too few of the other voters
// answer. For the rest see [Node.AddNonvoter].
func (n *Node) Demote(ctx context.Context, id string) error {
	return n.unseat(ctx, change{verb: verbDemote, id: id}, func(e *epoch) error {
		if _, ok := n.member(id); !ok {
			return n.unknown(id)
		}
		if !n.votes(id) {
			return nil
		}
		if err := e.checkWithout(ctx, id); err != nil {
			return err
		}
		return n.configure(ctx, "demoted to non-voter", id, func(timeout time.Duration) raft.IndexFuture {
			return n.consensus.raft.DemoteVoter(raft.ServerID(id), 0, timeout)
		})
	})
}

// Remove ends the membership of a node, also of one that is gone for good. The
// leader hands leadership over first. What a removed node does is at [ErrRemoved].
// It fails as [Node.Demote] does.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.unseat(ctx, change{verb: verbRemove, id: id}, func(e *epoch) error {
		if _, ok := n.member(id); !ok {
			return n.unknown(id)
		}
		if err := e.checkWithout(ctx, id); err != nil {
			return err
		}
		return n.configure(ctx, "removed", id, func(timeout time.Duration) raft.IndexFuture {
			return n.consensus.raft.RemoveServer(raft.ServerID(id), 0, timeout)
		})
	})
}

// Leave ends this node's own membership, from any node: the leader is asked, once
// this one has handed leadership over if it was that. The node goes on running, and
// serves stale reads only; close it. A node that has left already returns nil.
func (n *Node) Leave(ctx context.Context) error {
	if n.removed.Load() {
		return nil
	}
	err := n.ask(ctx, change{verb: verbRemove, id: n.config.ID})
	if errors.Is(err, ErrRemoved) || errors.Is(err, ErrUnknownMember) {
		return nil // by an attempt whose answer was lost
	}
	return err
}

// unseat makes a change on the leader; one that ends the vote of the leader itself
// it has made by the next one.
func (n *Node) unseat(ctx context.Context, c change, apply func(*epoch) error) error {
	if c.id != n.config.ID || !n.votes(c.id) {
		return n.changing(ctx, apply)
	}
	err := n.changing(ctx, func(e *epoch) error {
		if err := e.checkWithout(ctx, c.id); err != nil {
			return err
		}
		if err := n.handOver(ctx); err != nil {
			return err
		}
		select { // or this node would be asked again
		case <-e.over:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNoTransfer, context.Cause(ctx))
		}
	})
	if err != nil {
		return err
	}
	if err = n.ask(ctx, c); errors.Is(err, ErrRemoved) {
		return nil
	}
	return err
}

// changing runs a change while this node leads, one at a time.
func (n *Node) changing(ctx context.Context, change func(*epoch) error) error {
	if _, err := n.lead(ctx); err != nil {
		return err
	}
	select {
	case n.changes <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: another change of the membership is under way: %w", ErrBusy, context.Cause(ctx))
	}
	defer func() { <-n.changes }()
	e, err := n.lead(ctx)
	if err != nil {
		return err
	}
	return change(e)
}

// configure has Raft change the membership, and waits for a majority of the voters
// or the end of ctx. Raft itself refuses an address that is there twice, and a
// cluster without voters, should another leader have changed something in between.
func (n *Node) configure(ctx context.Context, what, id string, start func(timeout time.Duration) raft.IndexFuture) error {
	if err := n.stayOpen(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { // a Raft future cannot be given up
		defer n.waits.Done()
		if _, ok := n.consensus.calls.enter(); !ok {
			done <- n.whyEnded()
			return
		}
		defer n.consensus.calls.leave()
		// Raft would never answer a proof of leadership that waits for a voter which is none
		// any more, where this node is a majority without it.
		n.proving.Lock()
		defer n.proving.Unlock()
		done <- raftError(start(enqueueTimeout).Error())
	}()
	select {
	case err := <-done:
		if err == nil {
			n.log.Info("membership changed", "member", id, "change", what)
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

func (n *Node) votes(id string) bool {
	s, ok := n.member(id)
	return ok && s.Suffrage == raft.Voter
}

func (n *Node) unknown(id string) error {
	return fmt.Errorf("%w: %q; the members are %s", ErrUnknownMember, id, names(n.servers()))
}

func names(servers []raft.Server) string {
	text := ""
	for i, s := range servers {
		if i > 0 {
			text += ", "
		}
		text += string(s.ID)
	}
	return text
}
