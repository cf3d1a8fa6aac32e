package node

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// Member is a node of the cluster.
type Member struct {
	ID     string `json:"id"`
	Raft   string `json:"raft"`   // address at which the other nodes reach it; empty if none can
	Voter  bool   `json:"voter"`  // a non-voter has all data, and counts for no majority
	Leader bool   `json:"leader"` // as far as the node that was asked knows
	// Contact is there on the leader only, for the others, once they have answered.
	Contact *Contact `json:"contact,omitempty"`
}

// Contact is what the leader last heard of another node.
type Contact struct {
	AgoMS     int64  `json:"ago_ms"`     // milliseconds since it answered a heartbeat
	LastIndex uint64 `json:"last_index"` // newest entry in its Raft log then
}

// Members returns the members of the cluster by id, as Raft has them on this node:
// from when a change is in its log, which a majority may not have confirmed yet.
// None before a node that joins has heard of the cluster. It does not block, and
// works on every node.
func (n *Node) Members() []Member {
	members := n.membership().Members
	term := n.consensus.raft.CurrentTerm()
	if n.consensus.raft.State() != raft.Leader {
		return members
	}
	for i := range members {
		m := &members[i]
		if k, ok := n.consensus.acks.of(raft.ServerID(m.ID), term); ok && m.ID != n.config.ID {
			m.Contact = &Contact{AgoMS: time.Since(k.heard).Milliseconds(), LastIndex: k.lastIndex}
		}
	}
	return members
}

// Membership is who belongs to the cluster and who leads it, as one node knows it.
type Membership struct {
	Leader  string   `json:"leader"` // node id; empty for none
	Term    uint64   `json:"term"`   // Raft's
	Members []Member `json:"members"`
}

func (m Membership) equal(other Membership) bool {
	return m.Leader == other.Leader && m.Term == other.Term && slices.Equal(m.Members, other.Members)
}

// membership returns the present one, without contacts.
func (n *Node) membership() Membership {
	m := Membership{Leader: n.Leader(), Term: n.consensus.raft.CurrentTerm()}
	m.Members = membersOf(n.servers(), m.Leader)
	return m
}

func membersOf(servers []raft.Server, leader string) []Member {
	members := make([]Member, 0, len(servers))
	for _, s := range servers {
		address := string(s.Address)
		if address == string(s.ID) { // it listens nowhere; see [consensus.listen]
			address = ""
		}
		members = append(members, Member{
			ID:     string(s.ID),
			Raft:   address,
			Voter:  s.Suffrage == raft.Voter,
			Leader: string(s.ID) == leader,
		})
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return members
}

// member returns the member with an id.
func (n *Node) member(id string) (raft.Server, bool) {
	servers := n.servers()
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == id })
	if i < 0 {
		return raft.Server{}, false
	}
	return servers[i], true
}
