package node

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// noteRemoval looks whether this node is still a member by what is in its own log.
// Raft does not let one that is not stand for election.
func (n *Node) noteRemoval() {
	n.removalMu.Lock()
	defer n.removalMu.Unlock()
	servers := n.servers()
	if n.joining.Load() || n.disowned || n.consensus.raft.State() == raft.Shutdown || len(servers) == 0 {
		return
	}
	_, ok := n.member(n.config.ID)
	n.setRemoved(!ok)
}

func (n *Node) setRemoved(removed bool) {
	if n.removed.Swap(removed) != removed && removed {
		n.log.Error(plain(ErrRemoved), "members", names(n.servers()))
	}
}

// left ends Raft in a node that knows that its removal is committed, which its own
// log may never tell it: it is sent the log as far as that once, and then no more.
func (n *Node) left() {
	n.removalMu.Lock()
	n.disowned = true // from now on its own log, in which it may be a member, says nothing
	n.setRemoved(true)
	n.removalMu.Unlock()
	if err := n.consensus.shutdown(); err != nil {
		n.log.Warn("Raft was not ended", "error", err)
	}
}

// orphanTime is how long a node goes without a leader before it asks the others
// whether it is still a member, and disownTime how long before it asks again. A
// leader without a majority steps down in less: it cannot answer both times.
func (n *Node) orphanTime() time.Duration { return max(2*n.config.ElectionTimeout, time.Second) }

func (n *Node) disownTime() time.Duration { return max(n.config.ElectionTimeout, time.Second/2) }

// watchRemoval finds out about a removal that happened while this node was away:
// nobody sends it the log any more. Until then it asks for votes now and then, which
// nobody grants to one that is no member, and which disturb nobody: Raft asks
// whether it would be elected before it counts a term. Once it knows, it ends Raft.
func (n *Node) watchRemoval(ctx context.Context) {
	tick := time.NewTicker(n.disownTime() / 4)
	defer tick.Stop()
	var since time.Time // without a leader
	var asked time.Time // and told once; a change that is not committed could be undone
	none := time.Time{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		switch {
		case n.Leader() != "" || n.joining.Load() && !n.taken.Load() || n.removed.Load():
			since, asked = none, none
		case since.IsZero():
			since = time.Now()
		case time.Since(since) < n.orphanTime() || time.Since(asked) < n.disownTime():
		case !n.leaderDisowns(ctx):
			since, asked = none, none
		case asked.IsZero():
			asked = time.Now()
		default:
			n.left()
			return
		}
	}
}

// leaderDisowns asks the other members, as far as this node knows them. One that
// leads and does not have this node among its members has removed it.
func (n *Node) leaderDisowns(ctx context.Context) bool {
	for _, s := range n.servers() {
		if s.ID == n.self() {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, probeTimeout)
		m, ok := n.ledBy(asking, s)
		cancel()
		if ok {
			i := slices.IndexFunc(m.Members, func(m Member) bool { return m.ID == n.config.ID })
			if i >= 0 {
				n.noteSought(m.Members[i].Raft)
			}
			return i < 0
		}
	}
	return false
}

// ledBy returns the membership as a member has it that leads this node's cluster. At its
// address may be a node of another one by now, under the same id, which says nothing of it.
func (n *Node) ledBy(ctx context.Context, s raft.Server) (m Membership, ok bool) {
	var there introduction
	own, at := n.clusterID(), string(s.Address)
	if err := n.peers.get(ctx, at, identityPath, &there); err != nil || own == "" || there.Cluster != own {
		return m, false
	}
	err := n.peers.get(ctx, at, membersPath, &m)
	return m, err == nil && m.Leader == string(s.ID) && len(m.Members) > 0
}
