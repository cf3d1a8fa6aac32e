package nats

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
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
	last     Ack       // newest
	answered time.Time // when the leader heard the last one
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
		w.answered = w.now
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

// step is something that may happen in the world.
type step struct {
	name   string
	weight int
	who    func(*chief) bool // nil: it happens to nobody
	do     func(t *rapid.T, c *chief)
}

// many does something with some of what is in a queue.
func many(t *rapid.T, queue *[]packet, do func(packet)) {
	for range rapid.IntRange(1, len(*queue)).Draw(t, "many") {
		do(shift(queue))
	}
}

// flow has the leader go on for a while, as it does most of the time, and what it says
// get as far as some place.
func (w *world) flow(t *rapid.T, c *chief) {
	w.committed += rapid.Uint64Range(0, 3).Draw(t, "changes")
	stages := []func(){
		func() {
			for c.first || c.next < c.batch {
				c.publish()
			}
			c.batch = max(c.batch, w.committed)
			c.handed = max(c.handed, c.batch)
			for c.next < c.batch {
				c.publish()
			}
			c.conn = append(c.conn, packet{ping: &mark{c.next, c.seq}})
		},
		func() { drain(&c.conn, func(p packet) { w.broke(c, p, true) }) },
		func() {
			if rapid.Bool().Draw(t, "pongs come") {
				drain(&c.pongs, c.pong)
			}
		},
		func() {
			c.begin()
			c.say(false)
			w.wantSafe(t, c)
		},
		func() { drain(&c.conn, func(p packet) { w.broke(c, p, true) }) },
		func() { drain(&c.road.out, w.arrive) },
		func() { drain(&w.callback, w.hear) },
		func() { drain(&c.road.back, func(p packet) { w.tell(c, p) }) },
	}
	if rapid.Bool().Draw(t, "part of the way") {
		stages = stages[:rapid.IntRange(1, len(stages)).Draw(t, "stages")]
	}
	for _, stage := range stages {
		stage()
	}
}

func drain(queue *[]packet, do func(packet)) {
	for len(*queue) > 0 {
		do(shift(queue))
	}
}

func (w *world) steps() []step {
	leads := func(c *chief) bool { return c.leads }
	idle := func(c *chief) bool { return c.leads && !c.first && c.next == c.batch }
	linked := func(c *chief) bool { return c.road.id != 0 }
	return []step{
		{"flow", 20, leads, w.flow},
		{"commit", 4, nil, func(t *rapid.T, _ *chief) { w.committed += rapid.Uint64Range(1, 3).Draw(t, "changes") }},
		{"batch", 3, idle, func(t *rapid.T, c *chief) {
			c.batch = max(c.batch, w.committed)
			c.handed = max(c.handed, c.batch)
		}},
		{"publish", 6, func(c *chief) bool { return c.leads && (c.first || c.next < c.batch) }, func(t *rapid.T, c *chief) {
			for range rapid.IntRange(1, 4).Draw(t, "steps") {
				c.publish()
			}
		}},
		{"ping", 4, idle, func(t *rapid.T, c *chief) { c.conn = append(c.conn, packet{ping: &mark{c.next, c.seq}}) }},
		{"begin a beacon", 4, func(c *chief) bool { return c.leads && !c.first && c.draft == nil }, func(t *rapid.T, c *chief) { c.begin() }},
		{"beacon", 6, func(c *chief) bool { return c.leads && c.draft != nil }, func(t *rapid.T, c *chief) {
			c.say(false)
			w.wantSafe(t, c)
		}},
		{"its broker takes", 8, func(c *chief) bool { return len(c.conn) > 0 }, func(t *rapid.T, c *chief) {
			many(t, &c.conn, func(p packet) { w.broke(c, p, true) })
		}},
		{"pong", 4, func(c *chief) bool { return c.leads && len(c.pongs) > 0 }, func(t *rapid.T, c *chief) { many(t, &c.pongs, c.pong) }},
		{"its broker takes what was held up", 2, func(c *chief) bool { return len(c.old) > 0 }, func(t *rapid.T, c *chief) {
			many(t, &c.old, func(p packet) { w.broke(c, p, false) })
		}},
		{"deliver", 8, func(c *chief) bool { return len(c.road.out) > 0 }, func(t *rapid.T, c *chief) { many(t, &c.road.out, w.arrive) }},
		{"hear", 8, func(c *chief) bool { return len(w.callback) > 0 }, func(t *rapid.T, _ *chief) { many(t, &w.callback, w.hear) }},
		{"answer", 8, func(c *chief) bool { return len(c.road.back) > 0 }, func(t *rapid.T, c *chief) {
			many(t, &c.road.back, func(p packet) { w.tell(c, p) })
		}},
		{"the publisher's connection breaks", 3, leads, func(t *rapid.T, c *chief) {
			c.old = append(c.old, c.conn[:rapid.IntRange(0, len(c.conn)).Draw(t, "left")]...)
			c.conn, c.pongs, c.first, c.draft = nil, nil, true, nil
			c.next, c.batch = c.confirmed, c.confirmed
		}},
		{"cut", 1, linked, func(t *rapid.T, c *chief) { w.cut(c) }},
		{"form", 3, func(c *chief) bool { return c.road.id == 0 }, func(t *rapid.T, c *chief) { w.form(c) }},
		{"cut and form anew", 2, linked, func(t *rapid.T, c *chief) {
			w.cut(c)
			w.form(c)
			if rapid.Bool().Draw(t, "at once") {
				w.tell(c, shift(&c.road.back))
			}
		}},
		{"elect", 2, func(*chief) bool { return true }, func(t *rapid.T, c *chief) {
			for _, other := range w.chiefs {
				if rapid.Bool().Draw(t, "has heard of "+other.name) {
					c.known = max(c.known, other.known)
				}
			}
			w.elect(c)
		}},
		{"restart", 1, nil, func(t *rapid.T, _ *chief) {
			if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
				return
			}
			for _, c := range w.chiefs {
				w.cut(c)
			}
			w.start()
		}},
		{"time", 4, nil, func(t *rapid.T, _ *chief) {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms")) * time.Millisecond)
		}},
	}
}

// draw does one of the steps that can be done.
func (w *world) draw(t *rapid.T) {
	choices := make(map[string]func(*rapid.T))
	var names []string // as often as their weight
	for _, s := range w.steps() {
		for _, c := range w.chiefs {
			if s.who == nil && c != w.chiefs[0] || s.who != nil && !s.who(c) {
				continue
			}
			name := c.name + ": " + s.name
			choices[name] = func(t *rapid.T) { s.do(t, c) }
			names = append(names, slices.Repeat([]string{name}, s.weight)...)
		}
	}
	choices[rapid.SampledFrom(names).Draw(t, "step")](t)
}

// wantSafe holds that what a leader has published and now calls safe has reached the
// broker of a node that it has heard of lately.
func (w *world) wantSafe(t *rapid.T, c *chief) {
	safe := c.audience.safeAt(c.confirmed, w.now)
	c.conn[len(c.conn)-1].beacon.Safe = safe
	grew := safe > c.safe
	c.safe = safe
	if !grew || w.now.Sub(w.answered) > AckPatience || !w.counts || w.last.Term != c.term {
		return
	}
	if r := w.missing(c.from, safe, w.last.Lost); r != 0 {
		t.Fatalf("%d is safe, and event %d has reached nobody beside the leader", safe, r)
	}
}

// What a node says that it has received, its broker has had, or the node says that it
// is lost, or that was announced.
func TestHearingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.elect(w.chiefs[0])
		for _, c := range w.chiefs {
			w.form(c)
		}
		for range rapid.IntRange(50, 400).Draw(t, "steps") {
			w.draw(t)
			if r := w.missing(0, w.last.Received, w.last.Lost); r != 0 {
				t.Fatalf("received is %d beside lost %v, and event %d never came: resets %v", w.last.Received, w.last.Lost, r, w.covered)
			}
		}
	})
}
