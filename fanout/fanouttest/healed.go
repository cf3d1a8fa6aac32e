package fanouttest

import "github.com/watchcast/watchcast/fanout"

// healed checks that what was given comes to the committed state whenever that was said,
// and at through.
func (h *history) healed(through uint64) error {
	given := make(map[string]*fanout.Event)
	for i, e := range h.events() {
		switch {
		case e.Op == fanout.Progress:
			if lacks := h.lacking(given, e.Revision); lacks != nil {
				return h.breach(ErrLost, i, "%s was not given, nor anything later of its key, and %s says that all was", describe(lacks), describe(e))
			}
		case !e.Control() && (given[e.Key] == nil || given[e.Key].Revision < e.Revision):
			given[e.Key] = e
		}
	}
	if lacks := h.lacking(given, through); lacks != nil {
		return h.breach(ErrLost, h.placeFor(lacks), "%s was not given, nor anything later of its key", describe(lacks))
	}
	return nil
}

// lacking returns the last change of a key up to a revision, if what was given of the key
// is older; nil if there is none. A deletion of what was not given is none.
func (h *history) lacking(given map[string]*fanout.Event, through uint64) *fanout.Event {
	settled := make(map[string]bool)
	for n := h.above(through) - 1; n >= 0; n-- {
		e := h.view.changes[n]
		if !h.wants(e) || settled[e.Key] {
			continue
		}
		settled[e.Key] = true
		has := given[e.Key]
		alive := has != nil && has.Op == fanout.Put
		if (e.Op == fanout.Put || alive) && (has == nil || has.Revision < e.Revision) {
			return e
		}
	}
	return nil
}
