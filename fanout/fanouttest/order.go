package fanouttest

import "github.com/watchcast/watchcast/fanout"

// Ordered checks that everything stands where it belongs: changes in the order in
// which they were committed and above the start; a marker behind what lies below
// its range and before what lies above; Reset and Progress behind what lies below
// them. An initial state is complete at its Progress, which stands at the start.
// The error wraps [ErrOrder].
//
// With [AtLeastOnce] there is no order but that of each key, which the receiver
// itself makes by dropping repeats; then nothing is checked. One that is [Healing]
// has dropped them: there the revisions of each key grow.
func (r *Receiver) Ordered() error {
	if r.healing {
		return r.history().keysOrdered()
	}
	if r.atLeastOnce {
		return nil
	}
	h := r.history()
	if err := h.initialOrdered(); err != nil {
		return err
	}
	through, batch := h.start, ^uint32(0) // where the receiver stands
	for i, e := range h.events() {
		at, number := e.Revision, e.Batch
		behind := at < through || at == through && number < batch
		if e.Control() {
			number = ^uint32(0) // nothing of its revision may follow
			switch e.Op {
			case fanout.Lagged:
				behind = e.PrevRevision <= through
			case fanout.Progress:
				behind = at < through
			case fanout.Reset:
				behind = at <= through
			}
		}
		if behind {
			return h.breach(ErrOrder, i, "%s stands behind %d", describe(e), through)
		}
		through, batch = max(through, at), number
	}
	return nil
}

// keysOrdered checks that the revisions of each key grow.
func (h *history) keysOrdered() error {
	last := make(map[string]uint64)
	for i, e := range h.events() {
		if e.Control() {
			continue
		}
		if e.Revision <= last[e.Key] {
			return h.breach(ErrOrder, i, "%s stands behind %d of its key", describe(e), last[e.Key])
		}
		last[e.Key] = e.Revision
	}
	return nil
}

// initialOrdered checks the initial state: puts only, and Progress at the start.
func (h *history) initialOrdered() error {
	for i, e := range h.initials() {
		if e.Control() {
			return h.breach(ErrOrder, i, "%s stands in the initial state", describe(e))
		}
	}
	if h.initial && h.begun() {
		if end := h.records[h.body-1].event; end.Revision != h.start {
			return h.breach(ErrOrder, h.body-1, "the initial state ends with %s, want %d", describe(end), h.start)
		}
	}
	return nil
}
