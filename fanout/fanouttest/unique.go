package fanouttest

import "github.com/watchcast/watchcast/fanout"

// Unique checks that nothing was received twice: no change, no Reset, and no key
// of an initial state. The error wraps [ErrRepeat]. With [AtLeastOnce] nothing is
// checked.
func (r *Receiver) Unique() error {
	if r.atLeastOnce {
		return nil
	}
	h := r.history()
	seen := make(map[place]int)
	keys := make(map[string]bool)
	for i, e := range h.initials() {
		if keys[e.Key] {
			return h.breach(ErrRepeat, i, "the initial state has %q twice", e.Key)
		}
		keys[e.Key] = true
		seen[placeOf(e)] = i
	}
	for i, e := range h.events() {
		if e.Op == fanout.Lagged || e.Op == fanout.Progress {
			continue
		}
		if first, ok := seen[placeOf(e)]; ok {
			return h.breach(ErrRepeat, i, "%s was received before, as number %d of %d", describe(e), first+1, len(h.records))
		}
		seen[placeOf(e)] = i
	}
	return nil
}

// place is what a change is known by. A Reset has no key.
type place struct {
	revision uint64
	key      string
}

func placeOf(e *fanout.Event) place { return place{e.Revision, e.Key} }
