package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout/fanouttest"
	"github.com/watchcast/watchcast/nats"
)

// trial is a network with an audience at every node, under load.
type trial struct {
	*network
	t         *testing.T
	rng       *rand.Rand
	audiences []*audience
	load      *load
	settler   *nats.Client // reaches some broker, whatever happens
	acks      *natsgo.Subscription
	writes    int    // of this trial's own
	start     uint64 // from there on everybody has everything, or is told
}

func newTrial(t *testing.T, seed uint64) *trial {
	t.Helper()
	w := newNetwork(t)
	r := &trial{network: w, t: t, rng: rand.New(rand.NewPCG(seed, 0))}
	var writers []*nats.Client
	var urls []string
	for _, n := range w.nodes {
		k := w.clients[n.ID()]
		r.audiences = append(r.audiences, listen(t, n, k))
		writers = append(writers, clientOn(t, linkConn(t, k)))
		urls = append(urls, n.NATSURL())
	}
	conn := connect(t, strings.Join(urls, ","), nats.ClientConn()...)
	r.settler = clientOn(t, conn)
	var subjects nats.Subjects
	if err := subjects.Check(); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.acks, err = conn.SubscribeSync(subjects.Ack()); err != nil {
		t.Fatal(err)
	}
	for _, a := range r.audiences {
		a.begun()
	}
	r.load = newLoad(t, seed, writers)
	r.start = r.settle()
	return r
}

// living are the nodes that were not killed.
func (r *trial) living() (nodes []*Node) {
	for _, a := range r.audiences {
		if !a.gone {
			nodes = append(nodes, a.node)
		}
	}
	return nodes
}

// leader waits until somebody leads, and returns him and the others that live.
func (r *trial) leader() (leader *Node, others []*Node) {
	r.t.Helper()
	leader = leaderAmong(r.t, r.living())
	for _, n := range r.living() {
		if n != leader {
			others = append(others, n)
		}
	}
	r.rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return leader, others
}

// settle waits until what is written reaches every subscriber, and returns its revision.
func (r *trial) settle() (revision uint64) {
	r.t.Helper()
	eventually(r.t, "an event reaches everybody", func() bool {
		if revision = r.write("settle"); revision == 0 {
			return false
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return !slices.ContainsFunc(r.audiences, func(a *audience) bool { return !a.gone && !a.plain.hears(ctx, revision) })
	})
	return revision
}

// write puts another value each time: who has the one before has not the same state.
func (r *trial) write(key string) (revision uint64) {
	r.t.Helper()
	r.writes++
	return r.load.write(bounded(r.t), r.settler, []nats.Operation{{Key: key, Value: fmt.Append(nil, key, r.writes)}})
}

// try has something happen on a path until enough is written and what is to be seen was.
func (r *trial) try(f fault, p path, seen func()) {
	r.t.Helper()
	began := time.Now()
	r.load.size.Store(int64(f.size)) // much, where buffers are to fill
	f.begin(p)
	if f.size > valueSize {
		r.load.more(largeWrites)
	} else {
		r.load.more(faultWrites)
	}
	seen()
	f.end(p)
	p.heal()
	r.load.size.Store(valueSize)
	took := time.Since(began)
	r.settle()
	r.t.Logf("%s: for %v, and %v until all was well", f.name, took.Round(time.Millisecond), (time.Since(began) - took).Round(time.Millisecond))
}

// stale waits until a watch at a node says that it is stale.
func (r *trial) stale(n *Node) {
	r.t.Helper()
	m := r.audience(n).state
	eventually(r.t, "a watch at "+n.ID()+" is stale", func() bool { return m.told(nats.Stale) > m.told(nats.Fresh) })
}

// cutOff returns what waits until a broker has given up a client.
func (r *trial) cutOff(n *Node) func() {
	conn := r.audience(n).conn
	before := conn.Stats().Reconnects
	return func() {
		r.t.Helper()
		eventually(r.t, "the broker of "+n.ID()+" has given up a subscriber", func() bool {
			return !conn.IsConnected() || conn.Stats().Reconnects > before
		})
	}
}

// fresh waits until it says that it is not, any more.
func (r *trial) fresh(n *Node) {
	r.t.Helper()
	m := r.audience(n).state
	eventually(r.t, "a watch at "+n.ID()+" is fresh", func() bool { return m.told(nats.Stale) == m.told(nats.Fresh) })
}

// behind waits until a node lacks some of what the leader has.
func (r *trial) behind(n, leader *Node) (seen bool) {
	r.t.Helper()
	return r.whileLeads(leader, n.ID()+" is behind", func() bool { return n.Revision()+largeWrites < leader.Revision() })
}

// brokenRoute returns what waits until a leader's broker has given up a route.
func (r *trial) brokenRoute(leader, to *Node) func() (seen bool) {
	before := leader.routes()[to.ID()]
	return func() bool {
		r.t.Helper()
		return r.whileLeads(leader, leader.ID()+" has given up its route to "+to.ID(), func() bool { return leader.routes()[to.ID()] != before })
	}
}

// whileLeads waits until something is to be seen, which is true then, or until its cause is
// gone with the leader: a pause of the machine may have another one elected.
func (r *trial) whileLeads(leader *Node, what string, condition func() bool) (seen bool) {
	r.t.Helper()
	eventually(r.t, what+", or "+leader.ID()+" does not lead any more", func() bool {
		seen = condition()
		e, _ := leader.currentEpoch()
		return seen || e == nil
	})
	return seen
}

// underLeader has something done between a leader and another node, and done again with
// the next one if that leader did not stay until it was seen.
func (r *trial) underLeader(do func(leader, other *Node) (seen bool)) {
	r.t.Helper()
	for range faultTries {
		leader, others := r.leader()
		if do(leader, others[0]) {
			return
		}
		r.t.Logf("%s did not lead for long enough", leader.ID())
	}
	r.t.Fatalf("no leader stayed until a fault was seen, %d times: this machine pauses too often", faultTries)
}

// newLeader waits until another node leads.
func (r *trial) newLeader(old *Node) {
	r.t.Helper()
	eventually(r.t, "another node leads", func() bool {
		return slices.ContainsFunc(r.nodes, func(n *Node) bool {
			e, _ := n.currentEpoch()
			return n != old && e != nil
		})
	})
}

// told waits until every node says that it has everything up to a revision, and that it
// has been told what it has not. It returns the revision of what came behind that.
func (r *trial) told(last uint64) uint64 {
	r.t.Helper()
	ctx := bounded(r.t)
	has := make(map[string]bool)
	for _, n := range r.living() {
		for !has[n.ID()] {
			m, err := r.acks.NextMsgWithContext(ctx)
			if err != nil {
				r.t.Fatalf("%s does not say that it has all up to %d, or was told what it has not: %v", n.ID(), last, err)
			}
			a, err := nats.DecodeAck(m)
			if err != nil {
				r.t.Fatal(err)
			}
			has[a.Node] = a.Received >= last && a.Lost == nil
		}
	}
	return r.settle()
}

func nothing() {}

// judge ends the load, and holds every history against what was committed.
func (r *trial) judge() {
	r.t.Helper()
	r.load.finish()
	r.settle()
	var last uint64
	for i := range r.nodes {
		for j := range writtenKeys { // so that each key has another event, which shows what was lost before
			o := r.load.next(r.rng, i, 0)[:1]
			o[0].Key, o[0].Delete = keyOf(i, j), false
			eventually(r.t, "a last write is acknowledged", func() bool {
				last = r.load.write(bounded(r.t), r.settler, o)
				return last != 0
			})
		}
	}
	began := time.Now()
	shows := last
	last = r.told(last)
	leader, _ := r.leader()
	want := state(r.t, leader, ">")
	for _, a := range r.audiences {
		a.got(shows, last, want)
	}
	r.t.Logf("%d writes, up to revision %d; all equal after %v", r.load.count(), last, time.Since(began))

	committed := r.audience(leader).within.all()
	log := fanouttest.NewLog()
	log.Commit(committed...)
	if err := log.Err(); err != nil {
		r.t.Fatal(err)
	}
	r.load.check(committed)
	if got := log.State(last, filterOf(r.t, ">")); len(got) != len(want) {
		r.t.Errorf("%d keys were committed; the store has %d", len(got), len(want))
	} else {
		for key, e := range got {
			if want[key] != string(e.Value) {
				r.t.Errorf("%q was committed of %s; the store has %q", e.Value, key, want[key])
			}
		}
	}
	for _, a := range r.audiences {
		a.check(log, r.start, last)
	}
}

func (r *trial) audience(n *Node) *audience { return r.audiences[slices.Index(r.nodes, n)] }
