package node

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// freeAddrs returns loopback addresses that were free a moment ago.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs[i] = l.Addr().String()
	}
	return addrs
}

// startCluster starts three nodes in this process, with clustered brokers.
func startCluster(t *testing.T) []*Node {
	t.Helper()
	addrs := freeAddrs(t, 6)
	rafts, routes := addrs[:3], addrs[3:]
	peers := make(map[string]string)
	for i, addr := range rafts {
		peers[fmt.Sprintf("n%d", i+1)] = addr
	}
	nodes := make([]*Node, 3)
	for i := range nodes {
		c := single(t)
		c.ID = fmt.Sprintf("n%d", i+1)
		c.Raft, c.Peers = rafts[i], peers
		c.Routes, c.JoinRoutes, c.ClusterSecret = routes[i], routes, "cluster-secret"
		nodes[i] = start(t, c)
	}
	for _, n := range nodes {
		waitReady(t, n)
	}
	return nodes
}

// leaderOf returns the node that leads, and the others.
func leaderOf(t *testing.T, nodes []*Node) (leader *Node, others []*Node) {
	t.Helper()
	for _, n := range nodes {
		if _, err := n.Get(bounded(t), "nothing"); errors.Is(err, ErrNotLeader) {
			others = append(others, n)
		} else {
			leader = n
		}
	}
	if leader == nil {
		t.Fatal("no node leads")
	}
	return leader, others
}

// TestCluster: what the leader accepts, every node's watchers see, in process
// and over NATS; a request reaches the leader through any broker; and when the
// leader goes, the next one takes over and announces the rest.
func TestCluster(t *testing.T) {
	nodes := startCluster(t)
	leader, others := leaderOf(t, nodes)

	_, err := others[0].Put(bounded(t), "k", nil)
	if !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), leader.ID()) {
		t.Fatalf("put on a follower: %v; want ErrNotLeader with the leader's name, %s", err, leader.ID())
	}

	const many = 200
	watchers := make([]*fanout.Watcher, len(nodes))
	remotes := make(map[*Node]*stream)
	for i, n := range nodes {
		watchers[i] = watch(t, n, "k.>", fanout.WithBuffer(3*many))
		remotes[n] = subscribe(t, connect(t, n.NATSURL()), "k.>")
	}
	// A subscription has reached every broker when an event has come by it; the
	// first ones may not.
	var first uint64
	for arrived := false; !arrived; {
		first = put(t, leader, "k.probe", "x")
		arrived = true
		for _, r := range remotes {
			r.mu.Lock()
			arrived = arrived && len(r.events) > 0
			r.mu.Unlock()
		}
	}
	var revisions []uint64
	for i := range many {
		// In turn through every broker.
		conn := connect(t, nodes[i%len(nodes)].NATSURL())
		reply := request(t, conn, fmt.Sprintf("kv.put.k.%d", i%10), []byte(fmt.Sprint(i)))
		conn.Close()
		var revision uint64
		if _, err := fmt.Sscan(reply.Header.Get(nats.HeaderRev), &revision); err != nil {
			t.Fatalf("put %d: %v", i, reply.Header)
		}
		revisions = append(revisions, revision)
	}
	last := revisions[many-1]
	for i, w := range watchers {
		var got []uint64
		for len(got) == 0 || got[len(got)-1] < last {
			if e := next(t, w); e.Revision > first {
				got = append(got, e.Revision)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(revisions) {
			t.Fatalf("watcher on %s saw %v, want %v", nodes[i].ID(), got, revisions)
		}
	}
	for n, r := range remotes {
		var got []uint64
		for _, e := range r.seen(last) {
			if e.Revision > first {
				got = append(got, e.Revision)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(revisions) {
			t.Fatalf("subscriber at %s saw %v, want %v", n.ID(), got, revisions)
		}
	}

	stop(t, leader)
	for _, n := range others {
		waitReady(t, n)
	}
	var next uint64
	for _, n := range others {
		revision, err := n.Put(bounded(t), "k.next", []byte("x"))
		if errors.Is(err, ErrNotLeader) {
			continue
		}
		if err != nil {
			t.Fatalf("put on the next leader: %v", err)
		}
		next = revision
	}
	if next == 0 {
		t.Fatal("nobody took the lead")
	}
	for _, n := range others {
		remotes[n].seen(next)
		remotes[n].noResets()
		if n.Revision() < last {
			t.Errorf("%s is at %d, behind an acknowledged write at %d", n.ID(), n.Revision(), last)
		}
	}
}
