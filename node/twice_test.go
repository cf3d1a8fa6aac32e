package node

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestOneNodeIsNoTwo: where the address of a member leads to another member, which has two
// names, say, that one votes once, and what it has stored is stored once. So two nodes of
// five are no majority, and three are.
func TestOneNodeIsNoTwo(t *testing.T) {
	t.Parallel()
	peers := make(map[string]string)
	for _, id := range []string{"n1", "n2", "n4", "n5"} {
		peers[id] = freeport.Address(t)
	}
	_, port, err := net.SplitHostPort(peers["n2"])
	if err != nil {
		t.Fatal(err)
	}
	peers["n3"] = net.JoinHostPort("localhost", port)
	run := func(id string) *Node {
		c := single(t)
		c.ID, c.Raft, c.Peers, c.ElectionTimeout = id, peers[id], peers, 500*time.Millisecond
		return start(t, c)
	}
	n1, n2 := run("n1"), run("n2")
	ctx, cancel := context.WithTimeout(bounded(t), 5*time.Second) // in which they would elect one of them
	defer cancel()
	if err := n1.WaitReady(ctx); !errors.Is(err, ErrNoLeader) {
		t.Fatalf("of two nodes of five, %q leads: %v; want %v", n1.Leader(), err, ErrNoLeader)
	}
	put(t, leaderAmong(t, []*Node{n1, n2, run("n4")}), "k", "three of five")
}
