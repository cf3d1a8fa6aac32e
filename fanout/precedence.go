package fanout

import "runtime"

// precedence is who is left for later while a read is delivered.
//
// Nobody sees a stalled watcher being late, but a consumer that waits sees every
// microsecond that is spent on others before it. So watchers with a waiting
// consumer get their events when they are met, the rest behind them, among which
// are all that are stalled; but when maxLater of these have come together they are
// served, and who waits may be behind them.
//
// A consumer that was woken would still have to wait: it stands beside the run
// queue of the dispatcher's processor, which the dispatcher keeps busy with the
// rest. So the dispatcher gives way in between, if the read was small. If it was
// not, more has come in than that, and throughput counts. Of keys, those that a
// predictor expects somebody to wait for are looked up first, and the rest only when
// the dispatcher has given way.
//
// A watcher of a key or of > is met once in a run of changes, with all that is for
// it. So what is left for later is all there is, and its events stay in order. The
// watchers of other patterns are not left here but in their inboxes, which keep
// the order whenever they are emptied.
type precedence struct {
	later []postponed
	woken bool // somebody who waited was served
}

// postponed is what is still to be offered to a watcher.
type postponed struct {
	watcher *watcher
	events  []*Event
}

const (
	maxLater  = 256 // watchers left for later, beside those with an inbox
	smallRead = 64  // events, about what Raft applies at once
)

// serve offers events to a watcher that somebody waits for, which it reports; to others
// later.
func (d *Dispatcher) serve(w *watcher, events []*Event) (waited bool) {
	p := &d.precedence
	switch {
	case w.flags.have(awaited):
		p.woken = true
		d.offer(w, events)
		return true
	case len(p.later) == maxLater:
		d.serveLater()
	}
	p.later = append(p.later, postponed{w, events})
	return false
}

// serveInboxes empties the inboxes that somebody waits for.
func (d *Dispatcher) serveInboxes() {
	d.inboxes.emptyIf(func(w *watcher) bool { return w.flags.have(awaited) }, func(w *watcher, events []*Event) {
		d.precedence.woken = true
		d.offer(w, events)
	})
}

// giveWay lets those run who were woken, before the dispatcher goes on with the read.
func (d *Dispatcher) giveWay() {
	if d.precedence.woken {
		d.precedence.woken = false
		runtime.Gosched()
	}
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
