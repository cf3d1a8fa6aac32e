package node

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/nats"
)

var faultSeed = flag.Uint64("faults.seed", 0, "what to make the faults and writes of TestFaults from; 0 for a new one")

// fault is something that happens to a network, as one of its two ends sees it.
type fault struct {
	name  string
	begin func(path)
	end   func(path) // but for what heal does
	quiet bool       // nothing that the first end says arrives meanwhile, or not in time
	size  int        // of the longest value that is written meanwhile
}

const (
	faultWrites = 80 // for so many acknowledged writes faults last at least
	largeWrites = 20 // of large values
	faultTries  = 5  // what the machine was too slow for is tried so often
)

func kindsOfFault() []fault {
	const delay, slow = 40 * time.Millisecond, 8 << 10
	cut := func(p path) { p.each((*link).cut) }
	none := func(path) {}
	return []fault{
		{"cut", cut, none, false, valueSize},
		{"away", func(p path) { p.each(func(k *link) { k.refuse(true) }) }, none, true, valueSize},
		{"delay", func(p path) { p.each(func(k *link) { k.delay(delay, delay) }) }, none, false, valueSize},
		{"stalled there", func(p path) { p.hold(true, false) }, none, true, valueSize},
		{"stalled back", func(p path) { p.hold(false, true) }, none, false, valueSize},
		{"half-open", func(p path) { p.hold(true, false) }, cut, true, valueSize},
		{"slow", func(p path) { p.each(func(k *link) { k.slow(slow, slow) }) }, none, true, 200 * valueSize},
	}
}

// TestFaults does every kind of harm to every kind of connection, while clients write, and
// checks what everybody has seen: one after the other, then in any order, two at a time;
// and it kills the leader while one of its routes stands still.
func TestFaults(t *testing.T) {
	t.Parallel()
	seed := *faultSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-faults.seed %d", seed)
	for name, run := range map[string]func(*trial){
		"raft":    (*trial).raftFaults,
		"leaders": (*trial).leadersApart,
		"routes":  (*trial).routeFaults,
		"clients": (*trial).clientFaults,
		"any":     (*trial).anyFaults,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTrial(t, seed)
			run(r)
			r.judge()
		})
	}
	t.Run("killed", func(t *testing.T) { killedLeaders(t, seed) }) // before the others go on, which slow it down
}

// killedLeaders goes on until the machine was quick enough to tell whether a killed leader
// has cost anything.
func killedLeaders(t *testing.T, seed uint64) {
	for i := range faultTries {
		told := false
		if !t.Run(fmt.Sprint(i), func(t *testing.T) {
			r := newTrial(t, seed)
			told = r.killedLeader()
			r.judge()
		}) || told {
			return
		}
	}
	t.Errorf("this machine was too slow to tell, %d times", faultTries)
}

// raftFaults happen between the leader and another node, which disturb nobody.
func (r *trial) raftFaults() {
	for _, f := range kindsOfFault() {
		r.underLeader(func(leader, other *Node) bool {
			seen := true
			r.try(f, r.raftPath(leader, other), func() { seen = !f.quiet || r.behind(other, leader) })
			return seen
		})
	}
}

// leadersApart has leaders lose both other nodes.
func (r *trial) leadersApart() {
	for _, f := range kindsOfFault() {
		if strings.HasPrefix(f.name, "stalled") || f.name == "away" {
			leader, _ := r.leader()
			r.try(f, r.apart(leader), func() { r.newLeader(leader) })
		}
	}
}

func (r *trial) routeFaults() {
	for _, f := range kindsOfFault() {
		r.underLeader(func(leader, other *Node) bool {
			seen, broken := true, r.brokenRoute(leader, other)
			r.try(f, r.routePath(leader, other), func() { seen = f.name == "delay" || broken() })
			return seen
		})
	}
}

func (r *trial) clientFaults() {
	for _, f := range kindsOfFault() {
		n := r.nodes[r.rng.IntN(len(r.nodes))]
		seen := nothing
		if f.quiet {
			seen = func() { r.stale(n) }
		}
		if f.name == "slow" {
			seen = r.cutOff(n)
		}
		r.try(f, r.clientPath(n), seen)
		r.fresh(n)
	}
	r.quickCut(r.nodes[r.rng.IntN(len(r.nodes))])
}

// quickCut cuts clients off right behind a beacon. They are connected again before the next
// one, and nothing but that they were not tells them what they have lost.
func (r *trial) quickCut(n *Node) {
	r.t.Helper()
	a := r.audience(n)
	beacons := func() (count int) {
		a.plain.mu.Lock()
		defer a.plain.mu.Unlock()
		return len(a.plain.beacons)
	}
	asked, since := a.once.w.Stats().CatchUps, beacons()
	eventually(r.t, "a watch at "+n.ID()+" does not look for losses any more", func() bool {
		if now := a.once.w.Stats().CatchUps; now != asked {
			asked, since = now, beacons()
		}
		return beacons() >= since+4
	})
	since = beacons()
	a.plain.until("a beacon", func(s *stream) bool { return len(s.beacons) > since })
	r.clients[n.ID()].cut()
	r.load.more(faultWrites)
	r.settle()
}

// anyFaults happen two at a time, somewhere.
func (r *trial) anyFaults() {
	kinds := kindsOfFault()
	for range 6 {
		var paths [2]path
		var faults [2]fault
		onRaft, slow := 0, false
		for i := range paths {
			leader, others := r.leader()
			from, to := leader, others[0]
			if r.rng.IntN(3) == 0 {
				from, to = others[0], others[1]
			}
			faults[i] = kinds[r.rng.IntN(len(kinds))]
			where := r.rng.IntN(3)
			paths[i] = []path{r.raftPath(from, to), r.routePath(from, to), r.clientPath(from)}[where]
			if where == 0 {
				onRaft++
			}
			slow = slow || faults[i].name == "slow"
			r.t.Logf("%s: %s, between %s and %s", []string{"raft", "route", "client"}[where], faults[i].name, from.ID(), to.ID())
		}
		faults[1].size = max(faults[0].size, faults[1].size)
		if onRaft == len(paths) && slow {
			faults[1].size = valueSize / 10 // perhaps all that is written goes through the slow one
		}
		faults[0].begin(paths[0])
		r.try(faults[1], paths[1], func() { faults[0].end(paths[0]); paths[0].heal() })
	}
}

// killedLeader kills the leader while its route to one of the others stands still, and has
// the other one elected, which knows what was published, and must know what was not safe.
// Nothing is to be told as lost; false says that it might have been by right, because the
// machine was so slow that the far node was silent for too long, a route broke that the
// test has left alone, or the leader lost its office before.
func (r *trial) killedLeader() (told bool) {
	leader, others := r.leader()
	far, near := others[0], others[1]
	routes := func() [2]uint64 { return [2]uint64{near.routes()[far.ID()], far.routes()[near.ID()]} }
	r.told(r.settle())
	began, before := time.Now(), routes()

	road := r.routePath(leader, far)
	road.hold(true, false)
	r.load.more(faultWrites / 8) // few, so that it is soon
	published := leader.Revision()
	eventually(r.t, "the near node has heard that it is published", func() bool { return near.published.Load() >= published })
	r.audience(leader).gone = true
	road.each((*link).cut)
	kill(r.t, leader, near)
	lasted := time.Since(began)
	road.heal()
	r.newLeader(leader)
	r.load.more(faultWrites)
	r.told(r.settle())

	if now := routes(); lasted >= nats.AckPatience || now != before || near.Status().Publish == nil {
		r.t.Logf("the leader went after %v; the routes were %v and are %v; %s leads", lasted, before, now, near.Leader())
		return false
	}
	for _, n := range others {
		r.audience(n).plain.noResets()
	}
	return true
}

// audience returns who listens at a node.
