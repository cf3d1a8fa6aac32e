package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/nats"
)

// roads is a cluster of three nodes whose brokers reach each other through links, one
// for each two of them.
type roads struct {
	t      *testing.T
	nodes  []*Node
	links  map[string]*link // from the node with the higher id to the one with the lower: "n2-n1"
	leader *Node
	far    *Node     // another one, of whose route to the leader the test disposes
	near   *Node     // the third one
	gone   bool      // the leader was stopped
	route  uint64    // from the far node to the leader, as it was last cut
	began  time.Time // from then on all nodes have acknowledged everything
	routes [2]uint64 // between near and far
	acked  map[uint64]string
	heard  map[*Node]*stream
}

// nowhere is an address at which nobody answers. Brokers tell it to each other, so that
// they know no other ways than the links.
const nowhere = "127.0.0.1:1"

func newRoads(t *testing.T) *roads {
	t.Helper()
	r := &roads{t: t, links: make(map[string]*link), acked: make(map[uint64]string), heard: make(map[*Node]*stream)}
	r.nodes = clusterOf(t, 3, linkRoutes(t, r.links), func(c *Config) {
		c.ElectionTimeout = 3 * time.Second // the leader is to stay until the test has done with it
	})
	var others []*Node
	r.leader, others = split(t, r.nodes)
	r.far, r.near = others[0], others[1]
	var streams []*stream
	for _, n := range []*Node{r.far, r.near} {
		r.heard[n] = subscribe(t, connect(t, n.NATSURL()), ">")
		streams = append(streams, r.heard[n])
	}
	meet(t, r.nodes, streams, nil)
	r.settle()
	r.began = time.Now()
	r.settle() // again, because it is quick now
	r.routes = r.between()
	return r
}

// linkRoutes has the brokers of a cluster reach each other through links, which it puts
// under the ids of the node that dials and the one that is dialled: "n2-n1".
func linkRoutes(t *testing.T, links map[string]*link) func(*Config) {
	return func(c *Config) {
		var own int
		fmt.Sscanf(c.ID, "n%d", &own)
		if own == 1 { // the first of a set
			clear(links)
		}
		all := c.JoinRoutes
		c.JoinRoutes, c.routesAdvertise = nil, nowhere
		for other := 1; other < own; other++ {
			name := fmt.Sprintf("n%d-n%d", own, other)
			links[name] = newLink(t, all[other-1])
			c.JoinRoutes = append(c.JoinRoutes, links[name].addr())
		}
	}
}

// between returns the two routes between the near and the far node.
func (r *roads) between() [2]uint64 {
	return [2]uint64{r.near.routes()[r.far.ID()], r.far.routes()[r.near.ID()]}
}

// noResets holds that nothing was announced as lost, unless the machine was so slow that a
// node was silent for too long by the time that the leader went, or a route broke that the
// test has left alone.
func (r *roads) noResets(went time.Time) {
	r.t.Helper()
	if went.Sub(r.began) >= nats.AckPatience || r.between() != r.routes {
		r.t.Logf("the leader went %v after all was well; the routes were %v and are %v", went.Sub(r.began), r.routes, r.between())
		return
	}
	for _, s := range r.heard {
		s.noResets()
	}
}

// road returns the link between two brokers, and whether it was a that dialled it.
func (r *roads) road(a, b *Node) (k *link, dialled bool) {
	if k := r.links[a.ID()+"-"+b.ID()]; k != nil {
		return k, true
	}
	return r.links[b.ID()+"-"+a.ID()], false
}

// stall holds back what the leader's broker sends to the far one.
func (r *roads) stall() {
	k, dialled := r.road(r.leader, r.far)
	k.hold(dialled, !dialled)
}

// cut ends the route between these two, and what was held back on it.
func (r *roads) cut() {
	r.route = r.far.routes()[r.leader.ID()]
	k, _ := r.road(r.leader, r.far)
	k.cut()
}

func (r *roads) free() {
	k, _ := r.road(r.leader, r.far)
	k.hold(false, false)
}

// put makes acknowledged changes by n and returns the last revision.
func (r *roads) put(n *Node, what string, many int) (last uint64) {
	r.t.Helper()
	for i := range many {
		key := fmt.Sprintf("%s.%d", what, i)
		last = put(r.t, n, key, what)
		r.acked[last] = key + "=" + what
	}
	return last
}

// settle waits until everything is safe, by what everybody has acknowledged.
func (r *roads) settle() {
	r.t.Helper()
	last := r.put(r.leader, "settle", 1)
	eventually(r.t, "every node has acknowledged everything", func() bool {
		s := r.leader.Status()
		return s.Publish != nil && s.Publish.Safe >= last
	})
}

// kill ends a node as a crash does: nothing is published any more. Only its files stay
// whole, which do not matter here. If next is not nil, the node has it elected before its
// Raft ends, unless it has lost its office; its broker is gone by then.
func kill(t *testing.T, n, next *Node) {
	t.Helper()
	n.publisherConn.Close()
	n.serviceConn.Close()
	n.broker.stop()
	if next != nil {
		if err := n.consensus.raft.LeadershipTransferToServer(next.self(), next.consensus.address).Error(); err != nil {
			if n.consensus.raft.State() == raft.Leader {
				t.Fatalf("%s is not elected: %v", next.ID(), err)
			}
			t.Logf("%s leads no more, and does not choose who is next: %v", n.ID(), err)
		}
	}
	if err := n.consensus.shutdown(); err != nil {
		t.Fatal(err)
	}
}

// crash kills the leader; what was on the way to the far node is lost.
func (r *roads) crash(next *Node) {
	r.t.Helper()
	r.gone = true
	r.cut()
	kill(r.t, r.leader, next)
}

// finish has whoever leads now write more, and waits until both subscribers have that.
func (r *roads) finish() {
	r.t.Helper()
	var leader *Node
	eventually(r.t, "there is a leader", func() bool {
		i := slices.IndexFunc(r.nodes, func(n *Node) bool {
			return n.Status().Publish != nil && n.Leader() == n.ID() && (n == r.far || n == r.near || !r.gone)
		})
		if i >= 0 {
			leader = r.nodes[i]
		}
		return i >= 0
	})
	last := r.put(leader, "after", 20)
	for _, s := range r.heard {
		s.seen(last)
	}
}

// formed waits until the far node's route to the leader, which was cut, is there again, and
// a beacon has come over it.
func (r *roads) formed() {
	r.t.Helper()
	r.heard[r.far].until("a beacon comes over another route", func(s *stream) bool {
		if len(s.beacons) == 0 {
			return false
		}
		now, last := r.far.routes()[r.leader.ID()], s.beacons[len(s.beacons)-1]
		return now != 0 && now != r.route && last.Routes[r.far.ID()] == now
	})
}

// missed returns what was acknowledged and a subscriber has neither received nor been told
// to be lost, and what was only told.
func (r *roads) missed(n *Node) (missed, told []uint64) {
	s := r.heard[n]
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[uint64]string)
	for _, e := range s.events {
		seen[e.Revision] = e.Key + "=" + string(e.Value)
	}
	for revision, change := range r.acked {
		if seen[revision] == change {
			continue
		}
		if slices.ContainsFunc(s.resets, func(l nats.Reset) bool { return l.From <= revision && revision <= l.To }) {
			told = append(told, revision)
		} else {
			missed = append(missed, revision)
		}
	}
	slices.Sort(missed)
	slices.Sort(told)
	return missed, told
}

// wantNothingMissed holds the promise for both subscribers.
func (r *roads) wantNothingMissed() {
	r.t.Helper()
	for n, s := range r.heard {
		if missed, told := r.missed(n); len(missed) > 0 {
			r.t.Errorf("the subscriber at %s has missed %d of %d acknowledged changes, from %d to %d, and was told of %d; resets: %+v",
				n.ID(), len(missed), len(r.acked), missed[0], missed[len(missed)-1], len(told), s.losses())
		}
	}
}
