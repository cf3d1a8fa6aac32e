package node

import (
	"strings"
	"testing"
)

// oneAway returns a cluster of which a node that dials the others was stopped, and who leads
// and who does not of those.
func oneAway(t *testing.T) (r *roads, away, leader, other *Node) {
	t.Helper()
	r = newRoads(t)
	away = r.nodes[2]
	if r.leader == away {
		if err := away.consensus.raft.LeadershipTransfer().Error(); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, away)
	for _, n := range r.nodes[:2] {
		waitReady(t, n)
	}
	leader, others := split(t, r.nodes[:2])
	return r, away, leader, others[0]
}

// TestClientBeforeRoutes: a node comes back, and a client is at its broker before that has
// routes to the others. What was published meanwhile has passed the client by, and is
// announced as lost; what comes behind that arrives.
func TestClientBeforeRoutes(t *testing.T) {
	t.Parallel()
	r, n, leader, _ := oneAway(t)
	hold := func(held bool) {
		for name, k := range r.links {
			if strings.HasPrefix(name, n.ID()+"-") {
				k.hold(held, held)
			}
		}
	}
	hold(true)
	again := start(t, n.config)
	s := subscribe(t, connect(t, again.NATSURL()), ">")
	first := put(t, leader, "passed.1", "x")
	last := put(t, leader, "passed.2", "x")
	eventually(t, "it is published", func() bool { s := leader.Status(); return s.Publish != nil && s.Publish.Confirmed >= last })
	hold(false)
	s.untilLost("a reset of what has passed it by", first, last)
	s.seen(put(t, leader, "later", "x"))
}

// TestClientBeforeTerm: a node comes back, and a client is at its broker before it has heard
// anything of the leader, which dies. What that had published has passed the client by, and
// the next leader, to whose broker there was a route, does not publish it again: it is
// announced as lost.
func TestClientBeforeTerm(t *testing.T) {
	t.Parallel()
	r, n, leader, next := oneAway(t)
	k := r.links[n.ID()+"-"+leader.ID()]
	k.hold(true, true)
	again := start(t, n.config)
	eventually(t, "there is a route to who will lead", func() bool {
		again.met.mu.Lock()
		defer again.met.mu.Unlock()
		return again.met.since[next.ID()].route != 0
	})
	s := subscribe(t, connect(t, again.NATSURL()), ">")
	first := put(t, leader, "passed.1", "x")
	last := put(t, leader, "passed.2", "x")
	eventually(t, "who will lead has heard that this is safe", func() bool {
		known, _ := next.announced.get()
		return known.Revision >= last
	})
	if again.hearing.Known() {
		t.Fatal("the node has heard of the leader already")
	}
	kill(t, leader, next)
	s.untilLost("a reset of what has passed it by", first, last)
	waitReady(t, next)
	s.seen(put(t, next, "later", "x"))
}
