package nats

import (
	"maps"
	"slices"
	"time"
)

// The world of the model: two nodes that may lead, each with a broker and a publisher,
// and a third one, whose broker is at the end of a route to each of them. What stands
// between two parties is a queue of packets, which is delivered one by one, cut short or
// lost.

// packet is something on its way: exactly one field is set.
type packet struct {
	revision uint64 // of an event
	beacon   *Beacon
	reset    *Range
	ping     *mark
	ack      *Ack
	interest bool // the broker at the other end wants events
}

// mark is what a ping is to confirm.
type mark struct{ revision, seq uint64 }

// road is a route between a leader's broker and the third one.
type road struct {
	id         uint64 // as the third broker numbers it; 0 for none
	interested bool   // the leader's broker knows what to send
	out, back  []packet
}

// chief is a node that may lead.
type chief struct {
	name     string
	audience *Audience
	known    uint64 // safe, as it has heard

	leads               bool
	term, from          uint64 // where it began
	first               bool   // the next thing to publish is the first beacon of a session
	next, batch, handed uint64 // published so far, to be published, highest ever
	confirmed, heard    uint64
	safe                uint64
	answered            time.Time // when it last heard an acknowledgement of its term; that of its election if it counts the third node from then on
	made, seq           uint64
	draft               *Beacon  // whose routes are read and the rest is not
	conn, old           []packet // to its broker: of the connection, and of one that was lost
	pongs               []packet // from its broker
	road                road
}

type world struct {
	now       time.Time
	committed uint64
	term      uint64
	lastRoute uint64
	chiefs    []*chief

	hearing  *Hearing
	callback []packet        // what the third broker has for its node
	got      map[uint64]bool // events that the third broker has had since its node started
	covered  []Range         // resets that it has had
	floor    uint64          // what the node had when it began to count
	counts   bool
	last     Ack // newest
}

func newWorld() *world {
	w := &world{now: time.Unix(1, 0)}
	for _, name := range []string{"a", "b"} {
		c := &chief{name: name, audience: NewAudience(name)}
		c.audience.SetMembers([]string{"a", "b", "c"})
		w.chiefs = append(w.chiefs, c)
	}
	w.start()
	return w
}

// start begins the life of the third node.
func (w *world) start() {
	w.hearing = NewHearing("c", true)
	w.callback, w.got, w.covered, w.floor, w.counts, w.last = nil, make(map[uint64]bool), nil, 0, false, Ack{}
}

// elect begins a term, from what the new leader has heard to be safe.
func (w *world) elect(c *chief) {
	for _, other := range w.chiefs {
		other.leads = false
	}
	w.term++
	from := c.known
	*c = chief{
		name: c.name, audience: c.audience, known: c.known, road: c.road, old: append(c.old, c.conn...),
		leads: true, term: w.term, from: from, first: true, next: from, batch: from, handed: from, confirmed: from,
	}
	c.audience.lead(c.term, from, w.now)
	if !c.audience.members["c"].gone {
		c.answered = w.now
	}
}

// publish does the next step of a publisher's stream.
func (c *chief) publish() {
	switch {
	case c.first:
		c.first = false
		c.begin()
		c.say(true)
	case c.next < c.batch:
		c.next++
		c.conn = append(c.conn, packet{revision: c.next})
	}
}

// begin and say make a beacon, in two steps, as a publisher that is interrupted does.
func (c *chief) begin() { c.draft = &Beacon{Routes: c.audience.routes()} }

func (c *chief) say(first bool) {
	b := c.draft
	c.draft = nil
	c.made++
	b.Term, b.Node, b.Seq, b.After, b.Sent, b.Published = c.term, c.name, c.made, c.seq, c.handed, c.confirmed
	if first {
		b.After, b.Sent = c.heard, c.confirmed
	}
	c.seq = b.Seq
	c.conn = append(c.conn, packet{beacon: b})
}

func (c *chief) pong(p packet) { c.confirmed, c.heard = p.ping.revision, p.ping.seq }

// broke is what the leader's broker does with a packet of the publisher.
func (w *world) broke(c *chief, p packet, live bool) {
	if p.ping != nil {
		if live {
			c.pongs = append(c.pongs, p)
		}
		return
	}
	if p.beacon != nil && p.beacon.Safe > 0 {
		c.known = max(c.known, p.beacon.Safe)
	}
	if c.road.id != 0 && c.road.interested {
		c.road.out = append(c.road.out, p)
	}
}

func (w *world) cut(c *chief) { c.road = road{} }

// form makes a route; the interest of the third broker is what goes first.
func (w *world) form(c *chief) {
	w.lastRoute++
	c.road = road{id: w.lastRoute, back: []packet{{interest: true}}}
}

// arrive is what the third broker does with a packet of a leader's.
func (w *world) arrive(p packet) {
	switch {
	case p.revision != 0:
		w.got[p.revision] = true
	case p.reset != nil:
		w.covered = append(w.covered, *p.reset)
		w.callback = append(w.callback, p)
	default:
		w.callback = append(w.callback, p)
	}
}

// hear is what the third node does with a packet of its broker's.
func (w *world) hear(p packet) {
	if p.reset != nil {
		w.hearing.Reset(*p.reset)
		return
	}
	routes := make(map[string]uint64)
	for _, c := range w.chiefs {
		if c.road.id != 0 {
			routes[c.name] = c.road.id
		}
	}
	ack, ok := w.hearing.Beacon(*p.beacon, maps.Clone(routes))
	if !ok {
		return
	}
	if !w.counts && ack.Received > 0 {
		w.counts, w.floor = true, ack.Received
	}
	w.last = ack
	for _, c := range w.chiefs {
		if c.road.id != 0 {
			c.road.back = append(c.road.back, packet{ack: &ack})
		}
	}
}

// tell is what a leader's broker and its node do with a packet of the third one's.
func (w *world) tell(c *chief, p packet) {
	if p.interest {
		c.road.interested = true
		return
	}
	lost, _ := c.audience.ack(*p.ack, c.confirmed, w.now)
	if c.leads && p.ack.Term == c.term {
		c.answered = w.now
	}
	if lost != nil && c.leads {
		c.conn = append(c.conn, packet{reset: lost})
	}
}

// missing returns the first event above after and up to revision that the third broker has neither had
// nor been told to be lost, by itself or by its node; 0 if there is none.
func (w *world) missing(after, revision uint64, known *Range) uint64 {
	covered := w.covered
	if known != nil {
		covered = append(slices.Clone(covered), *known)
	}
	for r := max(w.floor, after) + 1; r <= revision; r++ {
		if !w.got[r] && !slices.ContainsFunc(covered, func(c Range) bool { return c.From <= r && r <= c.To }) {
			return r
		}
	}
	return 0
}

func shift(queue *[]packet) packet {
	p := (*queue)[0]
	*queue = (*queue)[1:]
	return p
}
