package fanouttest

// Whole checks that of each batch up to through the receiver got all that is for
// it, or nothing. With [Conflated] a change that has a later one of its key may
// be absent. The error wraps [ErrTornBatch]. With [AtLeastOnce] nothing is
// checked.
func (r *Receiver) Whole(through uint64) error {
	if r.atLeastOnce {
		return nil
	}
	h := r.history()
	b := h.books()
	checked := uint64(0) // the events of a batch come one after another
	for i, e := range h.events() {
		if e.Control() || e.BatchSize < 2 || e.Revision > through || e.Revision == checked {
			continue
		}
		checked = e.Revision
		if key, missing := b.missing(e.Revision); missing {
			return h.breach(ErrTornBatch, i, "of the batch at %d it lacks %q", e.Revision, key)
		}
	}
	return nil
}

// books are what a receiver has of what was for it.
type books struct {
	*history
	received map[place]bool
	newest   map[string]uint64 // revision of the newest change of each key
}

func (h *history) books() books {
	b := books{history: h, received: make(map[place]bool), newest: make(map[string]uint64)}
	for _, e := range h.events() {
		if !e.Control() {
			b.received[placeOf(e)] = true
		}
	}
	for _, e := range h.view.changes {
		if h.wants(e) {
			b.newest[e.Key] = e.Revision
		}
	}
	return b
}

// whole reports whether nothing of a revision is missing.
func (b books) whole(revision uint64) bool {
	_, missing := b.missing(revision)
	return !missing
}

// missing returns a key of which the change at revision should have been received
// beside others of that revision, and was not.
func (b books) missing(revision uint64) (key string, missing bool) {
	for i := b.above(revision - 1); i < len(b.view.changes) && b.view.changes[i].Revision == revision; i++ {
		e := b.view.changes[i]
		superseded := b.conflated && b.newest[e.Key] > revision
		if b.wants(e) && !b.received[placeOf(e)] && !superseded {
			return e.Key, true
		}
	}
	return "", false
}
