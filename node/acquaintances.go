package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

var (
	// ErrSameID says that the node has stopped by itself, because another process
	// takes part in the cluster under its ID, from another data directory.
	ErrSameID = errors.New("node: another process takes part under this ID")
)

// acquaintances decides who may talk Raft with this node. Raft itself knows
// neither clusters nor processes: it would let a node with the data of another
// cluster, and a higher term, replace all that was acknowledged.
type acquaintances struct {
	self *identity
	log  *slog.Logger
	fail func(error)
	left func(id string) // called when a peer has ended its last connection, as the end of its process does
	// recent is for how long who was heard of, and has a connection with this node, is
	// taken to be alive.
	recent time.Duration

	repeats *repeats

	mu        sync.Mutex
	members   func() []raft.Server    // of the cluster, as this node knows them; nil before Raft runs
	led       func() bool             // whether it has a leader
	peers     map[string]acquaintance // by id
	strangers map[string]string       // ids of members that nodes of other clusters have, too, and which
}

// acquaintance is the process that takes part under an id.
type acquaintance struct {
	directory string
	heard     time.Time
}

func newAcquaintances(self *identity, recent time.Duration, log *slog.Logger, fail func(error), left func(id string)) *acquaintances {
	return &acquaintances{
		self: self, log: log, fail: fail, left: left, recent: recent, repeats: newRepeats(),
		peers: make(map[string]acquaintance), strangers: make(map[string]string),
	}
}

// met decides about a peer that was found at an address, or came by itself, where that is
// empty. Who is found at the address of a member is that member if it has its id; who comes
// from elsewhere under its id while that is alive is not.
func (a *acquaintances) met(conn *streamConn, peer identityRecord, at raft.ServerAddress) error {
	self := a.self.get()
	if self.Cluster != "" && peer.Cluster != "" && self.Cluster != peer.Cluster {
		return a.stranger(conn, peer, self)
	}
	dialled := at != ""
	if member, ok := a.memberAt(at); dialled && ok && string(member) != peer.Node {
		return a.elsewhere(member, at, peer)
	}
	conn.setPeer(peer) // before a.peers has it: see streamConn.Close
	now := time.Now()
	a.mu.Lock()
	delete(a.strangers, peer.Node)
	known, ok := a.peers[peer.Node]
	other := ok && known.directory != peer.Directory
	refuse := peer.Node == self.Node && peer.Directory != self.Directory ||
		other && !dialled && now.Sub(known.heard) < a.recent
	if !refuse {
		a.peers[peer.Node] = acquaintance{peer.Directory, now}
	}
	a.mu.Unlock()
	if refuse {
		a.repeats.log(a.log, slog.LevelWarn, "id "+peer.Node, "refused a second process with the id of a node; stop it, or give it an id of its own",
			"peer", peer.Node, "address", conn.RemoteAddr().String())
		return fmt.Errorf("%w: %s", ErrSameID, peer.Node)
	}
	if other {
		conn.layer.closeWhere(func(c *streamConn) bool {
			return c.peer.Node == peer.Node && c.peer.Directory != peer.Directory
		})
	}
	return nil
}

// stranger counts a node of another cluster that has the id of a voter of this one. This
// node goes on as long as there is a leader, or the others can be a majority with it: then it
// is the other one that is wrong. What shows that a voter is where it should be, too, is that
// it was heard of.
func (a *acquaintances) stranger(conn *streamConn, peer, self identityRecord) error {
	servers, led := a.cluster()
	members, strangers, counts := voters(servers), 0, false
	a.mu.Lock()
	for _, s := range servers {
		id := string(s.ID)
		if id == peer.Node {
			a.strangers[id] = peer.Cluster
		}
		known, ok := a.peers[id]
		if s.Suffrage != raft.Voter || id == self.Node || a.strangers[id] == "" || ok && time.Since(known.heard) < a.recent {
			continue
		}
		strangers++
		counts = counts || id == peer.Node
	}
	a.mu.Unlock()
	a.repeats.log(a.log, slog.LevelWarn, "cluster "+peer.Node, "refused a node of another cluster; give it the data directory that belongs here, or an empty one",
		"peer", peer.Node, "address", conn.RemoteAddr().String(), "cluster", peer.Cluster, "own_cluster", self.Cluster)
	if !counts || led || members-strangers >= members/2+1 {
		return fmt.Errorf("%w: %s is of %s", ErrOtherCluster, peer.Node, peer.Cluster)
	}
	err := fmt.Errorf("%w: it is of %s, but %s and %d more of its peers are of %s; give %s the directory that belongs there, or an empty one",
		ErrOtherCluster, self.Cluster, peer.Node, strangers-1, peer.Cluster, self.Node)
	a.fail(err)
	return err
}

// elsewhere refuses a peer that is found where another member should be. Raft asks an
// address and not an id: it would count the vote of the one, and what that has stored, for
// the other one, too.
func (a *acquaintances) elsewhere(member raft.ServerID, at raft.ServerAddress, peer identityRecord) error {
	a.repeats.log(a.log, slog.LevelWarn, "elsewhere "+string(member), "another node is found at the address of a member, and counts for nothing there; see where the address leads, or remove the member and add it with the right one",
		"member", string(member), "address", string(at), "found", peer.Node)
	return fmt.Errorf("at %s is %s, and not %s", at, peer.Node, member)
}

// sameID stops this node, because a peer says that another process has its id.
func (a *acquaintances) sameID(by string, at net.Addr) error {
	err := fmt.Errorf("%w, %s, says %s at %v; stop one of the two, or give it an ID of its own", ErrSameID, a.self.get().Node, by, at)
	a.fail(err)
	return err
}

// heardOf notes that a peer is alive.
func (a *acquaintances) heardOf(peer identityRecord) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.peers[peer.Node]; known.directory == peer.Directory {
		a.peers[peer.Node] = acquaintance{peer.Directory, now}
	}
}

// connected reports whether something connects this node with the process that takes part
// under an id, as it looks.
func (a *acquaintances) connected(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.peers[id]
	return ok
}

// gone forgets a process that nothing connects this node with any more: another one
// may take part under its id. It reports whether it was the one that took part.
func (a *acquaintances) gone(peer identityRecord) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.peers[peer.Node].directory != peer.Directory {
		return false
	}
	delete(a.peers, peer.Node)
	return true
}

// setMembers gives it what tells the members of the cluster, and whether it has a leader.
func (a *acquaintances) setMembers(members func() []raft.Server, led func() bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.members, a.led = members, led
}

// cluster returns the members, as far as this node knows them, and whether they have a
// leader. There are none before Raft runs.
func (a *acquaintances) cluster() (members []raft.Server, led bool) {
	a.mu.Lock()
	known, leads := a.members, a.led
	a.mu.Unlock()
	if known == nil {
		return nil, false
	}
	return known(), leads()
}

// memberAt returns which member has an address.
func (a *acquaintances) memberAt(at raft.ServerAddress) (raft.ServerID, bool) {
	servers, _ := a.cluster()
	for _, s := range servers {
		if s.Address == at {
			return s.ID, true
		}
	}
	return "", false
}

// part closes what connects this node with others of another cluster than the one
// that it has just learned to be of: they greeted when that was not known.
func (a *acquaintances) part(layer *streamLayer, cluster string) {
	layer.closeWhere(func(c *streamConn) bool { return c.peer.Cluster != "" && c.peer.Cluster != cluster })
}

// acquaint returns who decides with whom this node talks Raft.
func (n *Node) acquaint() *acquaintances {
	return newAcquaintances(n.identity, max(leastRecent, 3*n.config.ElectionTimeout), n.log, n.fail, n.audience.Gone)
}

// leastRecent is for how long at least a process that was heard of keeps others from
// taking part under its id.
const leastRecent = 3 * time.Second

// voters returns how many of the members have a vote.
func voters(members []raft.Server) (voters int) {
	for _, s := range members {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	return voters
}
