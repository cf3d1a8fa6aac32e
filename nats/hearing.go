package nats

import "sync"

// Hearing is what a node knows, from the leader's beacons, of which events have
// reached its own broker. It starts no goroutine and looks at no clock; any goroutine
// may call it, and nothing blocks.
//
// # Why it is right
//
// A beacon counts if it came over a known route: the one that the leader had heard of
// before it made the beacon, and that is still there when it has come. Of two such
// beacons over the same route, the later one behind the earlier one in the leader's
// chain, everything came between them that the leader published between them, since brokers
// drop nothing for a route that stays (docs/adr/0021); so what the later one calls published
// is there. A beacon that is not chained so says above which revision everything was
// published, or is published again, after its route was known; what lies below that and above
// what was there is the hole.
//
// The leader's own broker is at the end of no route; nor is one that is not the node's:
// then only the chain counts.
type Hearing struct {
	node  string
	local bool // the broker is the node's own, so that its routes are known

	mu       sync.Mutex
	term     uint64 // highest that was heard of
	last     heard  // the beacon that the next one is to follow
	known    bool   // there was one since the node started
	received uint64 // every event up to it has reached the broker, or is in lost
	lost     *Range // not announced yet

	// Before anything is known:
	guests bool   // clients are at the broker already
	from   uint64 // what was published up to here was so before they came
}

// heard identifies a beacon and the way it came.
type heard struct{ term, seq, route uint64 }

// NewHearing returns that of a node that has just started. Local says that its broker
// is its own, whose routes are known.
func NewHearing(node string, local bool) *Hearing { return &Hearing{node: node, local: local} }

// Guests says, before [Hearing.Known], that clients were at the node's broker before its
// route to the leader's. Until then events passed them by, and maybe some above from: the
// revision up to which everything had been published before the node started, as far as it
// knows.
func (h *Hearing) Guests(from uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guests, h.from = true, from
}

// Known reports whether a beacon has counted since the node started.
func (h *Hearing) Known() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

// Beacon takes a beacon of the node's cluster, in the order in which they came, and the
// routes that the node's broker has now, as in [Ack]. It returns the answer; false if there
// is none: the beacon is of a term that is over, or its leader's broker is at the end of
// no route by now.
func (h *Hearing) Beacon(b Beacon, routes map[string]uint64) (Ack, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b.Term < h.term {
		return Ack{}, false
	}
	h.term = b.Term
	route, proven := uint64(0), true
	if h.local && b.Node != h.node {
		if route = routes[b.Node]; route == 0 {
			return Ack{}, false
		}
		proven = b.Routes[h.node] == route
	}
	if proven {
		h.count(b, route)
	}
	a := Ack{Cluster: b.Cluster, Term: b.Term, Node: h.node, Seq: b.Seq, Received: h.received, Proven: proven, Routes: routes}
	if h.lost != nil {
		lost := *h.lost
		a.Lost = &lost
	}
	return a, true
}

// count takes a beacon that came over route.
func (h *Hearing) count(b Beacon, route uint64) {
	same := h.known && b.Term == h.last.term
	switch {
	case same && b.Seq <= h.last.seq:
		return // of a connection that the publisher had lost; a later one has come
	case same && route == h.last.route && b.After <= h.last.seq:
		h.received = max(h.received, b.Published)
	case !h.known:
		if h.guests && b.Sent > h.from {
			h.lost = &Range{From: h.from + 1, To: b.Sent}
		}
		h.known, h.received = true, b.Sent
	case b.Sent > h.received:
		from := h.received + 1
		if h.lost != nil {
			from = h.lost.From // one range, and no more to remember
		}
		h.lost = &Range{From: from, To: b.Sent}
		h.received = b.Sent
	}
	h.last = heard{b.Term, b.Seq, route}
}

// Reset takes a reset of the node's cluster: what it covers was announced.
func (h *Hearing) Reset(r Range) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost != nil && r.From <= h.lost.From && h.lost.To <= r.To {
		h.lost = nil
	}
}
