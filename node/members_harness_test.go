package node

import (
	"slices"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// withHTTP has the nodes of a cluster serve HTTP, so that others can join.
func withHTTP(c *Config) { c.HTTP = "127.0.0.1:0" }

// inMemory has them keep all in memory. There, unlike in a log of segments, what a
// snapshot replaces is gone at once, and who needs it gets the snapshot.
func inMemory(c *Config) { c.DataDir, c.InMemory = "", true }

// wantSnapshot holds that a node was sent a snapshot, and not all of the log.
func wantSnapshot(t *testing.T, n *Node) {
	t.Helper()
	if n.consensus.raft.Stats()["last_snapshot_index"] == "0" {
		t.Errorf("%s was sent no snapshot", n.ID())
	}
}

// joiner is the configuration of a node that joins the cluster of through.
func joiner(t *testing.T, through *Node, id string) Config {
	t.Helper()
	c := serving(t)
	c.ID, c.Raft, c.Join = id, freeport.Address(t), through.HTTPURL()
	c.ElectionTimeout = through.config.ElectionTimeout
	if through.config.Routes != "" {
		c.Routes, c.JoinRoutes, c.ClusterSecret = freeport.Address(t), through.config.JoinRoutes, through.config.ClusterSecret
	}
	return c
}

// founder is a node on its own that others can join.
func founder(t *testing.T) *Node {
	t.Helper()
	c := serving(t)
	c.ID, c.Raft, c.ElectionTimeout = "n1", freeport.Address(t), 2*time.Second // as in clusterOf
	return lead(t, c)
}

// join starts a node; what it has done when the test ends is undone.
func join(t *testing.T, c Config) *Node {
	t.Helper()
	n, err := Start(bounded(t), c)
	if err != nil {
		t.Fatalf("%s does not join: %v", c.ID, err)
	}
	t.Cleanup(func() { stop(t, n) })
	return n
}

// awaitMember waits until n sees a member that is a voter or not.
func awaitMember(t *testing.T, n *Node, id string, voter bool) {
	t.Helper()
	eventually(t, id+" is a member", func() bool {
		return slices.ContainsFunc(n.Members(), func(m Member) bool { return m.ID == id && m.Voter == voter })
	})
}

// awaitGone waits until n sees no member of that id.
func awaitGone(t *testing.T, n *Node, id string) {
	t.Helper()
	eventually(t, id+" is no member", func() bool {
		return !slices.ContainsFunc(n.Members(), func(m Member) bool { return m.ID == id })
	})
}

// acquaintedAs is who decides with whom a node of that id talks, which has met nobody
// yet.
func acquaintedAs(t *testing.T, id string) *acquaintances {
	t.Helper()
	self, err := openIdentity("", id)
	if err != nil {
		t.Fatal(err)
	}
	return newAcquaintances(self, leastRecent, testLogger(t), func(err error) { t.Errorf("%s stops: %v", id, err) }, func(string) {})
}

// leaderAmong waits until one of the nodes leads, and returns it.
func leaderAmong(t *testing.T, nodes []*Node) *Node {
	t.Helper()
	var leader *Node
	eventually(t, "one leads", func() bool {
		for _, n := range nodes {
			if e, _ := n.currentEpoch(); e != nil {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// wantRefused holds that a change failed as it should, and changed nothing.
func wantRefused(t *testing.T, n *Node, change func() error, is error, mentions ...string) {
	t.Helper()
	before := memberNames(n)
	err := within(t, "the change", change)
	wantOneLine(t, err, is, mentions...)
	if after := memberNames(n); !slices.Equal(before, after) {
		t.Errorf("after %v the members are %v; they were %v", err, after, before)
	}
}

// memberNames are the members as n sees them, without what changes by itself.
func memberNames(n *Node) []string {
	var names []string
	for _, m := range n.Members() {
		kind := " voter"
		if !m.Voter {
			kind = " non-voter"
		}
		names = append(names, m.ID+" "+m.Raft+kind)
	}
	return names
}
