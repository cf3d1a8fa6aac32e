package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

// startHearing has the node listen to what the leader says of itself, answer it, and
// listen to what the others answer. Each is done in a goroutine of the connection.
func (n *Node) startHearing() error {
	n.hearing = nats.NewHearing(n.config.ID, n.broker.server != nil)
	known, _ := n.announced.get()
	n.before = known.Revision
	n.setAudience()
	subjects := n.config.Subjects
	for subject, hear := range map[string]natsgo.MsgHandler{
		subjects.Beacon(): n.hearBeacon,
		subjects.Ack():    n.hearAck,
		subjects.Reset():  n.hearReset,
	} {
		if _, err := n.serviceConn.Subscribe(subject, hear); err != nil {
			return fmt.Errorf("node: listen to %s: %w", subject, err)
		}
	}
	if n.broker.server != nil && n.config.Routes != "" {
		n.spawn("routes", n.showRoutes)
	}
	return nil
}

// setAudience tells who the others are, if any can hear what this node's broker has.
func (n *Node) setAudience() {
	if n.broker.server != nil && n.config.Routes == "" {
		return
	}
	servers := n.servers()
	ids := make([]string, len(servers))
	for i, s := range servers {
		ids[i] = string(s.ID)
	}
	n.audience.SetMembers(ids)
}

// hearBeacon notes how far the leader's events have reached everybody, and answers how
// far they have reached this node's broker: the beacon came the same way as they did,
// behind them.
func (n *Node) hearBeacon(m *natsgo.Msg) {
	b, err := nats.DecodeBeacon(m)
	if err != nil {
		n.log.Warn("beacon", "error", err)
		return
	}
	cluster, ok := n.machine.Cluster()
	switch {
	case !ok: // of which cluster this node is, is not known yet
		return
	case cluster.ID != b.Cluster:
		n.repeats.log(n.log, slog.LevelError, "subjects", "another cluster has the same subjects at these brokers: their events mix, and both carry out each request, if these have the same subjects, too; give one of them roots of its own (--watch-root and --kv-root), or brokers", "cluster", b.Cluster, "leader", b.Node)
		return
	}
	n.announced.note(announcement{Cluster: b.Cluster, Term: b.Term, Revision: b.Safe})
	n.notePublished(b.Published)
	routes := n.routes()
	if !n.hearing.Known() {
		n.met.note(routes, time.Now())
		if n.broker.guestsBefore(n.heardSince(b), n.ownConnections()...) {
			n.hearing.Guests(n.before)
		}
	}
	ack, ok := n.hearing.Beacon(b, routes)
	if !ok {
		return
	}
	n.say(ack)
}

// heardSince returns since when nothing that a leader publishes passes this node's clients
// by: its broker has a route to the leader's, and the term has begun. What the leader before
// had sent may have gone with that.
func (n *Node) heardSince(b nats.Beacon) time.Time {
	route, began := n.met.at(b.Node), time.Now().Add(-time.Duration(b.Age)*time.Millisecond)
	if began.After(route) {
		return began
	}
	return route
}

// ownConnections returns the broker's numbers for the node's connections.
func (n *Node) ownConnections() (own []uint64) {
	for _, conn := range []*natsgo.Conn{n.publisherConn, n.serviceConn} {
		if id, err := conn.GetClientID(); err == nil {
			own = append(own, id)
		}
	}
	return own
}

func (n *Node) say(k nats.Ack) {
	data, err := json.Marshal(k)
	if err != nil {
		n.log.Error("acknowledgement", "error", err)
		return
	}
	// While it is disconnected from its broker nothing is to be said, and the next
	// beacon is answered again.
	_ = n.publisherConn.Publish(n.config.Subjects.Ack(), data)
}

// showRoutes tells the others which routes this node's broker has, until it has heard a
// beacon that counts: what passes its clients by until then has to be announced as lost,
// so it should not take long.
func (n *Node) showRoutes(ctx context.Context) {
	tick := time.NewTicker(showPeriod)
	defer tick.Stop()
	var shown map[string]uint64
	var due time.Time
	pause := showPeriod
	for !n.hearing.Known() {
		now, routes := time.Now(), n.routes()
		n.met.note(routes, now)
		if !maps.Equal(routes, shown) {
			shown, due, pause = routes, now, showPeriod
		}
		// More and more seldom: the others may not be ready to hear it yet, and there may
		// be no leader for long.
		if cluster, ok := n.machine.Cluster(); ok && len(routes) > 0 && !now.Before(due) {
			n.say(nats.Ack{Cluster: cluster.ID, Node: n.config.ID, Routes: routes})
			due, pause = now.Add(pause), min(2*pause, nats.BeaconPeriod)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

const showPeriod = 10 * time.Millisecond

// meetings is since when a node's broker is seen to have the route that it has to that of
// another.
type meetings struct {
	mu    sync.Mutex
	since map[string]meeting
}

type meeting struct {
	route uint64
	at    time.Time
}

func (m *meetings) note(routes map[string]uint64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := make(map[string]meeting, len(routes))
	for node, route := range routes {
		if since[node] = m.since[node]; since[node].route != route {
			since[node] = meeting{route, now}
		}
	}
	m.since = since
}

// at returns when that was, now if there is no route.
func (m *meetings) at(node string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.since[node]; ok {
		return known.at
	}
	return time.Now()
}

func (n *Node) notePublished(revision uint64) {
	for {
		known := n.published.Load()
		if revision <= known || n.published.CompareAndSwap(known, revision) {
			return
		}
	}
}

// routes returns the broker's routes to those of the other members.
func (n *Node) routes() map[string]uint64 {
	all := n.broker.routes()
	if all == nil {
		return nil
	}
	routes := make(map[string]uint64)
	for _, s := range n.servers() {
		if id := string(s.ID); all[id] != 0 {
			routes[id] = all[id]
		}
	}
	return routes
}

// hearAck notes what a node has received.
func (n *Node) hearAck(m *natsgo.Msg) {
	k, err := nats.DecodeAck(m)
	if err != nil {
		n.log.Warn("acknowledgement", "error", err)
		return
	}
	if cluster, ok := n.machine.Cluster(); !ok || cluster.ID != k.Cluster {
		return
	}
	if p := n.publishing.Load(); p != nil {
		p.Acknowledge(k)
		return
	}
	n.audience.Ack(k, time.Now())
}

// hearReset notes that a loss was announced.
func (n *Node) hearReset(m *natsgo.Msg) {
	r, err := nats.DecodeReset(m)
	if err != nil {
		n.log.Warn("reset", "error", err)
		return
	}
	if cluster, ok := n.machine.Cluster(); ok && cluster.ID == r.Cluster {
		n.hearing.Reset(r.Range)
	}
}
