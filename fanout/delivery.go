package fanout

// deliver hands events, whole revisions in order, to everyone they concern.
// Each watcher must receive what is its own in order; among watchers there is
// none. So a watcher takes all that is for it at one time.
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
func (d *Dispatcher) changes(events []*Event) {
	if d.registry.keyed.Load() > 0 {
		d.keys.each(events, func(of []*Event) {
			for w := d.registry.keys.get(of[0].Key); w != nil; w = w.next.Load() {
				d.offer(w, of)
			}
		})
	}
	for _, w := range d.registry.patterns.everything() {
		d.offer(w, events)
	}
	if d.registry.patterns.any() {
		d.patterns(events)
	}
}

// patterns collects for each watcher what its pattern matches and offers it.
func (d *Dispatcher) patterns(events []*Event) {
	for _, e := range events {
		if e.Batch == 0 && d.inboxes.events >= maxInboxes {
			d.inboxes.empty(d.offer)
		}
		d.matches = d.registry.patterns.match(e.Key, d.matches[:0])
		for _, w := range d.matches {
			d.inboxes.add(w, e)
		}
	}
	clear(d.matches)
	d.inboxes.empty(d.offer)
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
