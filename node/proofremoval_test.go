package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestProofBesideRemoval: a read that waits for the answer of a node which is removed, or
// loses its vote, meanwhile is answered all the same, and so are those that come later; and
// the node closes.
func TestProofBesideRemoval(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(n *Node, other string) error{
		"removed": func(n *Node, other string) error { return n.Remove(bounded(t), other) },
		"demoted": func(n *Node, other string) error { return n.Demote(bounded(t), other) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peers, roads := make(map[string]string), make(map[string]*link)
			var nodes []*Node
			var configs []Config
			for i := range 2 {
				c := single(t)
				c.ID, c.Raft, c.ElectionTimeout = fmt.Sprint("n", i+1), freeport.Address(t), 3*time.Second
				roads[c.ID] = newLink(t, c.Raft)
				peers[c.ID] = roads[c.ID].addr()
				configs = append(configs, c)
			}
			for _, c := range configs {
				c.Peers = peers
				nodes = append(nodes, start(t, c))
			}
			leader := leaderAmong(t, nodes)
			put(t, leader, "k", "v")
			other := nodes[0]
			if other == leader {
				other = nodes[1]
			}
			eventually(t, "nothing is under way", func() bool { return leader.consensus.calls.calls.Load() == 0 })
			roads[other.ID()].hold(true, true)
			// One that was begun before may still be answered, and Raft takes that for the read's.
			acks := leader.consensus.acks
			begun := func() uint64 {
				acks.mu.Lock()
				defer acks.mu.Unlock()
				return acks.begun
			}
			before := begun()
			eventually(t, "another heartbeat is begun", func() bool { return begun() > before })
			read := make(chan error)
			go func() {
				_, err := leader.Get(bounded(t), "k")
				read <- err
			}()
			eventually(t, "the read is under way", func() bool { return leader.consensus.calls.calls.Load() > 0 })
			t.Logf("the change ends with %v", change(leader, other.ID()))
			t.Logf("the read ends with %v", within(t, "the read", func() error { return <-read }))
			within(t, "the node closes", leader.Close)
		})
	}
}
