package nats

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

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
		{"the third node looks gone", 1, leads, func(_ *rapid.T, c *chief) {
			c.audience.Gone("c")
			c.answered = time.Time{}
		}},
		{"the other leader looks gone", 1, leads, func(_ *rapid.T, c *chief) {
			for _, other := range w.chiefs {
				if other != c {
					c.audience.Gone(other.name)
				}
			}
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
	if !grew || w.now.Sub(c.answered) > AckPatience || !w.counts || w.last.Term != c.term {
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
