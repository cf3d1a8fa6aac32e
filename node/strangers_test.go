package node

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/internal/freeport"
)

// intrude has a node of another cluster dial n, under an id.
func intrude(t *testing.T, n *Node, id string) {
	t.Helper()
	var failed error
	other := greeted(t, identityRecord{Node: id, Directory: "of another cluster " + id, Cluster: "another one"}, &failed)
	if conn, err := other.Dial(raft.ServerAddress(n.config.Raft), patience); err == nil {
		conn.Close()
		t.Errorf("%s takes %s of another cluster for one of its own", n.ID(), id)
	}
}

// TestStrangersStopNobody: a node that has its majority goes on, whoever of another cluster
// dials it: under the ids of its own members, which it is connected with or its leader is, or
// under others.
func TestStrangersStopNobody(t *testing.T) {
	t.Parallel()
	goOn := func(t *testing.T, nodes ...*Node) {
		t.Helper()
		for _, n := range nodes {
			if err := n.Err(); err != nil {
				t.Errorf("%s has stopped: %v", n.ID(), err)
			}
		}
		put(t, leaderAmong(t, nodes), "k", "v")
	}
	t.Run("one node", func(t *testing.T) {
		t.Parallel()
		c := single(t)
		c.Raft = freeport.Address(t)
		n := lead(t, c)
		put(t, n, "k", "v")
		intrude(t, n, "n2")
		goOn(t, n)
	})
	for size := 3; size <= 5; size += 2 {
		t.Run(fmt.Sprint(size, " nodes"), func(t *testing.T) {
			t.Parallel()
			nodes := clusterOf(t, size, inMemory)
			leader, _ := split(t, nodes)
			put(t, leader, "k", "v")
			for _, n := range nodes { // before that, it is of no cluster
				eventually(t, n.ID()+" knows its cluster", func() bool { return n.identity.get().Cluster != "" })
			}
			for _, n := range nodes {
				for _, other := range nodes {
					if other != n {
						intrude(t, n, other.ID())
					}
				}
				for i := range size {
					intrude(t, n, fmt.Sprint("x", i))
				}
			}
			goOn(t, nodes...)
		})
	}
}
