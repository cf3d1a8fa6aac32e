package main

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestNameDoesNotResolve: where the name of a node does not resolve, the others go
// on, and say so, not more than a few times in ten seconds; as soon as it resolves
// they have it, and again when it has another address. (Linux, where each 127.x.x.x
// is a loopback address.)
func TestNameDoesNotResolve(t *testing.T) {
	const name, late = "n3.watchcast.test", 2
	dns := startNames(t)
	c := newCluster(t, 3, func(i int) string {
		if i == late {
			return name
		}
		return ""
	}, dns.env())
	for i := range late {
		c.nodes[i] = startProcess(t, c.env, c.args[i]...)
	}
	for i := range late {
		c.nodes[i].ready()
	}
	c.nodes[late] = startProcess(t, c.env, c.args[late]...) // not before, or it leads: it does reach the others
	leader := c.leader()
	c.nodes[leader].waitFor(c.nodes[leader].stderr, name+`.*no such host`)
	acknowledged := putSome(t, c.connect(), "before", 50)
	complaints := 0
	for line := range strings.Lines(c.nodes[0].stderr.String() + c.nodes[1].stderr.String()) {
		if strings.Contains(line, name) && strings.Contains(line, "no such host") {
			complaints++
		}
	}
	if complaints > 2*3 { // of votes, heartbeats and entries, by two nodes
		t.Errorf("%d lines say that %s does not resolve; want three a node at most", complaints, name)
	}

	dns.set(name, [4]byte{127, 0, 0, 1})
	c.nodes[late].ready()
	for key, revision := range putSome(t, c.connect(), "after", 20) {
		acknowledged[key] = revision
	}
	c.wantAll(acknowledged)

	c.nodes[late].signal(os.Interrupt)
	c.nodes[late].exit()
	raft := c.args[late][slices.Index(c.args[late], "--raft")+1]
	_, port, err := net.SplitHostPort(raft)
	if err != nil {
		t.Fatal(err)
	}
	c.args[late] = with(c.args[late], "--raft", net.JoinHostPort("127.0.0.2", port))
	dns.set(name, [4]byte{127, 0, 0, 2})
	c.restart(late)
	for key, revision := range putSome(t, c.connect(), "moved", 20) {
		acknowledged[key] = revision
	}
	c.wantAll(acknowledged)
}
