package node

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// proveLeadership returns nil if this node led, with everything of earlier
// terms applied, at some moment after the call: a majority of the voters agreed to
// a heartbeat that was begun after the call. None of them can have elected
// somebody else before it agreed, so nobody else can have acknowledged a write by
// then.
//
// [raft.Raft.VerifyLeader] alone is not enough. It counts the answers of
// non-voters, and answers to heartbeats that were begun before. It makes Raft send
// heartbeats at once; the answers are counted here.
func (n *Node) proveLeadership() error {
	e, _ := n.currentEpoch()
	if e == nil {
		return ErrNotLeader
	}
	n.proving.Lock()
	defer n.proving.Unlock()
	begun := n.consensus.acks.begin()
	if err := n.consensus.verify(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	for !n.acknowledged(e.term, begun) {
		next := n.consensus.acks.next()
		if n.acknowledged(e.term, begun) {
			break // between the two
		}
		select {
		case <-next:
		case <-e.over: // at the latest when Raft has not heard of a majority for a lease
			return ErrNotLeader
		}
	}
	// It may have been superseded and elected again meanwhile, and not have
	// applied what came in between.
	if n.consensus.raft.CurrentTerm() != e.term {
		return ErrNotLeader
	}
	// What is restored counts once a majority has it.
	if n.gate.isClosed() {
		return ErrRestoring
	}
	return nil
}

// acknowledged reports whether a majority of the voters agreed to a heartbeat of
// term that was begun after begun.
func (n *Node) acknowledged(term, begun uint64) bool {
	return n.majority(func(id raft.ServerID) bool {
		k, ok := n.consensus.acks.of(id, term)
		return ok && k.begun > begun
	})
}

// majority reports whether has holds for a majority of the voters; for this node
// itself it does.
func (n *Node) majority(has func(raft.ServerID) bool) bool {
	return majority(n.servers(), func(id raft.ServerID) bool { return id == n.self() || has(id) })
}

func majority(servers []raft.Server, has func(raft.ServerID) bool) bool {
	voters, with := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if has(s.ID) {
			with++
		}
	}
	return with > voters/2
}

// servers returns the members as Raft has them now, from when a change is in the
// log. Empty before a joining node has heard of the cluster. Not to be changed.
func (n *Node) servers() []raft.Server {
	return n.consensus.raft.GetConfiguration().Configuration().Servers
}

func (n *Node) self() raft.ServerID { return raft.ServerID(n.config.ID) }
