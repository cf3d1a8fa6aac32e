package fanouttest

import "github.com/watchcast/watchcast/fanout"

// Chained checks that a [Chain] over what was received shows each loss at the
// key's next event, and none where nothing was lost. It says nothing of what was
// lost behind the last event of a key. The error wraps [ErrChain].
//
// Nothing is checked with [Conflated], [Healing] or [Ops], where absence is no loss,
// nor over an [Unchained] log.
func (r *Receiver) Chained() error {
	h := r.history()
	if h.conflated || h.healing || len(h.ops) > 0 || h.unchained {
		return nil
	}
	var chain Chain
	bases := make(map[string]uint64) // of the keys that were seen since stands
	stands := h.start
	stand := func(revision uint64, state State) {
		if revision < stands {
			return // an older read tells nothing
		}
		chain.Stand(revision, state)
		for key, base := range bases {
			if base <= revision {
				delete(bases, key)
			}
		}
		stands = revision
	}
	p := h.byKey()
	stand(h.start, h.log.State(h.start, h.filter))
	for i := h.body; i < len(h.records); i++ {
		rec := h.records[i]
		switch {
		case rec.event == nil:
			stand(rec.revision, rec.state)
			continue
		case rec.event.Op == fanout.Reset:
			stand(rec.event.Revision, h.log.State(rec.event.Revision, h.filter))
			continue
		case rec.event.Control():
			continue
		}
		e := rec.event
		base, seen := bases[e.Key]
		if !seen {
			base = stands
		}
		verdict := chain.See(e)
		if (verdict == Repeat) != (e.Revision <= base) {
			return h.breach(ErrChain, i, "%s is a %v; the receiver stands at %d", describe(e), verdict, base)
		}
		if verdict == Repeat {
			continue
		}
		bases[e.Key] = e.Revision
		lost, replaced := p.between(e.Key, base, e.Revision)
		switch {
		case replaced:
			// A Reset that was lost takes the chain with it, and may or may not show.
		case lost != nil && verdict != Gap:
			return h.breach(ErrChain, i, "%s was lost, and %s with PrevRevision %d does not show it: the receiver stands at %d", describe(lost), describe(e), e.PrevRevision, base)
		case lost == nil && verdict == Gap:
			return h.breach(ErrChain, i, "%s with PrevRevision %d shows a loss behind %d, where nothing was committed", describe(e), e.PrevRevision, base)
		}
	}
	return nil
}

// keyed is a log by key; the Resets are under the empty one.
type keyed map[string]view

func (h *history) byKey() keyed {
	k := make(keyed)
	for _, e := range h.view.changes {
		v := k[e.Key]
		v.changes = append(v.changes, e)
		k[e.Key] = v
	}
	return k
}

// between returns a change of key that was committed above after and below
// before, and whether the state was replaced there.
func (k keyed) between(key string, after, before uint64) (lost *fanout.Event, replaced bool) {
	v := k[key]
	if i := v.above(after); i < len(v.changes) && v.changes[i].Revision < before {
		lost = v.changes[i]
	}
	return lost, k[""].any(after+1, before-1)
}
