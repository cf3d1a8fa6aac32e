package fanout

// deliver hands events, whole revisions in order, to everyone they concern.
// Each watcher must receive what is its own in order; among watchers there is
// none. So of the changes between two control events a watcher takes all that is for
// it at one time; with a pattern it may be in parts, one after the other.
func (d *Dispatcher) deliver(events []*Event) {
	for len(events) > 0 {
		n := 0
		for n < len(events) && !events[n].Control() {
			n++
		}
		if n > 0 {
			d.changes(events[:n])
			events = events[n:]
			continue
		}
		switch e := events[0]; e.Op {
		case Lagged:
			d.lost(e.PrevRevision, e.Revision)
		case Reset:
			d.broadcast(events[:1])
		}
		events = events[1:]
	}
}

// changes delivers to watchers of keys, of everything, and of other patterns.
// Those that a consumer waits for come first, and keys of which that is not expected
// last: see precedence.
func (d *Dispatcher) changes(events []*Event) {
	small := len(events) <= smallRead
	if d.registry.keyed.Load() > 0 {
		first := d.likely
		if !small {
			first = nil
		}
		d.keyed(d.keys.split(events, first))
	}
	for w := d.registry.patterns.everything.Load(); w != nil; w = w.next.Load() {
		d.serve(w, events)
	}
	if d.registry.patterns.any() {
		d.collect(events)
		d.serveInboxes()
	}
	if len(d.keys.aside) > 0 {
		d.giveWay()
		d.keyed(d.keys.others())
	}
	if small && (len(d.precedence.later) > 0 || d.inboxes.events > 0) {
		d.giveWay()
	}
	d.precedence.woken = false
	d.serveLater()
	d.inboxes.empty(d.offer)
	d.keys.forget()
}

// lookAhead is how many keys are looked up before the first of their watchers is
// locked: a locked instruction ends what the processor does ahead, and look-ups
// spend their time on waiting for memory.
const lookAhead = 32

// keyed serves the watchers of single keys.
func (d *Dispatcher) keyed(groups []group) {
	for len(groups) > 0 {
		ahead := groups[:min(len(groups), lookAhead)]
		groups = groups[len(ahead):]
		for i := range ahead {
			g := &ahead[i]
			g.watchers = d.registry.keys.find(g.hash, g.events[0].Key)
		}
		for i := range ahead {
			g, waited := &ahead[i], false
			for w := g.watchers; w != nil; w = w.next.Load() {
				if d.serve(w, g.events) {
					waited = true
				}
			}
			d.predictor.learn(g.hash, waited)
		}
	}
}

// collect puts into each watcher's inbox what its pattern matches.
func (d *Dispatcher) collect(events []*Event) {
	for _, e := range events {
		if e.Batch == 0 && d.inboxes.events >= maxInboxes {
			d.inboxes.empty(d.offer)
		}
		d.matches = d.registry.patterns.match(e.Key, d.matches[:0])
		for _, w := range d.matches {
			d.inboxes.add(w, e)
		}
		clear(d.matches) // the next event may have fewer
	}
}

func (d *Dispatcher) offer(w *watcher, events []*Event) {
	d.offers++
	l := w.offer(events, &d.gaps)
	if l.dropped > 0 {
		d.registry.stats.dropped.Add(l.dropped)
	}
	if l.cancel != nil {
		d.cancel(w, l.cancel)
	}
}

// cancel ends a watcher as its policy says.
func (d *Dispatcher) cancel(w *watcher, cause error) {
	d.registry.stats.cancelled.Add(1)
	w.end(cause, true)
}

// broadcast hands a control event to every watcher there is. It is rare (a
// snapshot was installed), and its place in the order matters, so it is done at
// once; and by a copy of the roster, because a walk may meet a watcher twice.
func (d *Dispatcher) broadcast(reset []*Event) {
	for _, w := range d.registry.roster.all() {
		d.offer(w, reset)
	}
}
