package fanout

import "runtime"

// precedence is who of a read was left for later.
//
// Nobody sees a stalled watcher being late, but a consumer that waits sees every
// microsecond that is spent on others before it. So watchers with a waiting
// consumer get their events at once, the rest behind them, among which are all
// that are stalled. A consumer that was woken would still have to wait: it stands
// beside the run queue of the dispatcher's processor, which the dispatcher keeps
// busy with the rest. So it gives way in between, if the read was small. Where
// more comes in than that, throughput counts, and nobody waits for long.
//
// A watcher is met once in a read, with all that is for it, so its own events
// stay in order whichever of the two it is.
type precedence struct {
	later []delivery
	woken bool // somebody who waited was served
}

type delivery struct {
	watcher *watcher
	events  []*Event
}

const (
	maxLater   = 256 // watchers left for later, beside those with an inbox
	smallBatch = 64  // events, about what Raft applies at once
)

// serve offers events to a watcher that somebody waits for; to others later.
func (d *Dispatcher) serve(w *watcher, events []*Event) {
	p := &d.precedence
	switch {
	case w.flags.have(awaited):
		p.woken = true
		d.offer(w, events)
		return
	case len(p.later) == maxLater:
		d.serveLater()
	}
	p.later = append(p.later, delivery{w, events})
}

// serveInboxes empties the inboxes that somebody waits for.
func (d *Dispatcher) serveInboxes() {
	d.inboxes.emptyIf(func(w *watcher) bool { return w.flags.have(awaited) }, func(w *watcher, events []*Event) {
		d.precedence.woken = true
		d.offer(w, events)
	})
}

// giveWay lets those run who were woken by a small read, if there is more to do.
func (d *Dispatcher) giveWay(read int) {
	p := &d.precedence
	if p.woken && read <= smallBatch && (len(p.later) > 0 || d.inboxes.events > 0) {
		runtime.Gosched()
	}
	p.woken = false
}

// serveLater offers what was left.
func (d *Dispatcher) serveLater() {
	p := &d.precedence
	for _, l := range p.later {
		d.offer(l.watcher, l.events)
	}
	clear(p.later)
	p.later = p.later[:0]
}
