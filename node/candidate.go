package node

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// introduction is what a node says of itself on its Raft port: JSON.
type introduction struct {
	ID         string `json:"id"`
	Cluster    string `json:"cluster"`     // id; empty if it does not know any
	Founded    bool   `json:"founded"`     // it is a member of some cluster
	MaxPayload int64  `json:"max_payload"` // of its broker, in bytes
}

func (n *Node) introduce() introduction {
	return introduction{
		ID:         n.config.ID,
		Cluster:    n.clusterID(),
		Founded:    !n.joining.Load() && len(n.servers()) > 0,
		MaxPayload: n.serviceConn.MaxPayload(),
	}
}

// clusterID returns the id of the cluster that this node's data are of, empty if
// it does not know.
func (n *Node) clusterID() string {
	if cluster, ok := n.machine.Cluster(); ok {
		return cluster.ID
	}
	if own := n.identity.get().Cluster; own != "" { // it has just started, after a crash perhaps
		return own
	}
	known, _ := n.announced.get()
	return known.Cluster
}

func checkMember(id, address string) error {
	if !validID(id) {
		return fmt.Errorf("%w: the id is %q; give up to 64 letters, digits, dashes and underscores", ErrBadMember, id)
	}
	if !dialable(address) {
		return fmt.Errorf("%w: the Raft address of %s is %q; give the host:port at which the other nodes reach it", ErrBadMember, id, address)
	}
	return nil
}

// checkTaken reports whether id is a member at this very address, or refuses both if
// one of them is somebody else's.
func (n *Node) checkTaken(id, address string) (known bool, err error) {
	for _, s := range n.servers() {
		switch {
		case string(s.ID) == id && string(s.Address) == address:
			return true, nil
		case string(s.ID) == id:
			return false, fmt.Errorf("%w: %s is at %s; choose another id, or remove that node first", ErrDuplicateMember, id, s.Address)
		case string(s.Address) == address:
			return false, fmt.Errorf("%w: %s is the address of %s; give the node one of its own, or remove %s first", ErrDuplicateMember, address, s.ID, s.ID)
		}
	}
	return false, nil
}

// probeTimeout bounds the leader's question to a node that is to be added.
const probeTimeout = 2 * time.Second

// checkCandidate asks the node at a Raft address who it is. A wrong address in the
// membership would cost a vote at the least.
func (n *Node) checkCandidate(ctx context.Context, id, address string) error {
	if n.consensus.port == nil || !dialable(string(n.consensus.address)) {
		return fmt.Errorf("%w: %s leads, and has no address at which other nodes reach its Raft; restart it with Raft, or RaftAdvertise (it has %q)", ErrUnreachable, n.config.ID, n.config.Raft)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var peer introduction
	if err := n.peers.get(ctx, address, identityPath, &peer); err != nil {
		return fmt.Errorf("%w: %s at %s: %w; is it running there, and is this its Raft address as seen from %s?", ErrUnreachable, id, address, err, n.config.ID)
	}
	cluster, _ := n.machine.Cluster()
	switch {
	case peer.ID != id:
		return fmt.Errorf("%w: %s is said to be at %s, where %s is; give its own Raft address", ErrUnreachable, id, address, peer.ID)
	case peer.Cluster == "" && peer.Founded, peer.Cluster != "" && peer.Cluster != cluster.ID:
		return fmt.Errorf("%w: %s has data of cluster %s, and this is %s; start it with an empty data directory", ErrOtherCluster, id, orUnknown(peer.Cluster), cluster.ID)
	case peer.MaxPayload < int64(cluster.MaxValueBytes+valueHeadroom):
		return fmt.Errorf("%w: this cluster has values of up to %d bytes, and the broker of %s takes messages of %d; start it with a MaxPayload of %d", ErrSmallPayload, cluster.MaxValueBytes, id, peer.MaxPayload, cluster.MaxValueBytes+valueHeadroom)
	}
	return nil
}

func orUnknown(cluster string) string {
	if cluster == "" {
		return "its own"
	}
	return cluster
}

// moveSelf corrects this node's own address in the membership: a node that was
// founded alone had none, or has got another one since.
func (n *Node) moveSelf(ctx context.Context) error {
	s, ok := n.member(n.config.ID)
	if !ok || s.Address == n.consensus.address || s.Suffrage != raft.Voter {
		return nil
	}
	return n.configure(ctx, "moved to "+string(n.consensus.address), n.config.ID, func(timeout time.Duration) raft.IndexFuture {
		return n.consensus.raft.AddVoter(s.ID, n.consensus.address, 0, timeout)
	})
}
