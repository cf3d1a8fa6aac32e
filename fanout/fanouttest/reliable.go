package fanouttest

import (
	"math"

	"github.com/watchcast/watchcast/fanout"
)

// ReliableOrFlagged checks that everything up to through that was for the
// receiver was received or flagged: it lies in the range of a Lagged (of its
// key, if that names one), at or below
// a Reset, or behind the last event of a watcher that ended with
// [fanout.ErrLagged]. Where the receiver was told that it has seen everything up
// to a revision (Progress), that is checked of what came before. An initial state
// must have every key. With [Conflated] it is enough that a later change of the
// key was received or flagged. With [Healing] it is enough that what was given comes
// to the committed state, at each Progress and at through. The error wraps [ErrLost].
//
// through should be a revision that the watcher was good for: the last committed,
// once the dispatcher has delivered it ([fanout.Dispatcher.Revision]) and the
// consumer has drained its watcher.
func (r *Receiver) ReliableOrFlagged(through uint64) error {
	h := r.history()
	if err := h.initialComplete(through); err != nil {
		return err
	}
	if h.healing {
		return h.healed(through)
	}
	known := h.known()
	for i, e := range h.events() {
		if e.Op == fanout.Progress {
			if lost := known.firstLost(e.Revision, i); lost != nil {
				return h.breach(ErrLost, i, "%s was neither received nor flagged, and %s says that it was", describe(lost), describe(e))
			}
		}
	}
	if lost := known.firstLost(through, len(h.records)); lost != nil {
		return h.breach(ErrLost, h.placeFor(lost), "%s was neither received nor flagged", describe(lost))
	}
	return nil
}

// initialComplete checks that an initial state that lies up to through came, and
// has every key.
func (h *history) initialComplete(through uint64) error {
	if !h.initial || through == 0 || through < h.start || h.cancelled() && !h.begun() {
		return nil
	}
	if !h.begun() {
		return h.breach(ErrLost, len(h.records), "the initial state has no end")
	}
	got := make(map[string]bool)
	for _, e := range h.initials() {
		got[e.Key] = true
	}
	for key := range h.log.State(h.start, h.filter) {
		if !got[key] && h.wantsOp(fanout.Put) {
			return h.breach(ErrLost, h.body-1, "the initial state lacks %q", key)
		}
	}
	return nil
}

// knowledge is when the receiver came to know of what was for it.
type knowledge struct {
	changes   []*fanout.Event // for it, in order
	at        []int           // index of the record that showed or flagged each
	conflated bool
}

const never = math.MaxInt

// known goes through the records once.
func (h *history) known() *knowledge {
	k := &knowledge{conflated: h.conflated}
	places := make(map[place]int)
	for i := h.above(h.start); i < len(h.view.changes); i++ {
		if e := h.view.changes[i]; h.wants(e) {
			places[placeOf(e)] = len(k.changes)
			k.changes = append(k.changes, e)
			k.at = append(k.at, never)
		}
	}
	last := h.start
	for i, e := range h.events() {
		last = max(last, e.Revision)
		switch e.Op {
		case fanout.Lagged:
			k.flag(e.Key, e.PrevRevision, e.Revision, i)
		case fanout.Reset:
			k.flag("", 0, e.Revision, i)
		case fanout.Progress:
		default:
			if n, ok := places[placeOf(e)]; ok {
				k.at[n] = min(k.at[n], i)
			}
		}
	}
	if h.cancelled() {
		k.flag("", last+1, math.MaxUint64, len(h.records)-1)
	}
	return k
}

// flag notes that from..to was flagged by record i, where nothing was before: of key, or
// of every key if that is empty.
func (k *knowledge) flag(key string, from, to uint64, i int) {
	v := view{changes: k.changes}
	for n := v.above(max(from, 1) - 1); n < len(k.changes) && k.changes[n].Revision <= to; n++ {
		if key == "" || key == k.changes[n].Key {
			k.at[n] = min(k.at[n], i)
		}
	}
}

// firstLost returns the first change up to through of which the records before
// the given one say nothing, nil if there is none.
func (k *knowledge) firstLost(through uint64, before int) (lost *fanout.Event) {
	superseded := make(map[string]bool)
	for n := (view{changes: k.changes}).above(through) - 1; n >= 0; n-- {
		e := k.changes[n]
		switch {
		case k.at[n] < before:
			superseded[e.Key] = k.conflated
		case !superseded[e.Key]:
			lost = e
		}
	}
	return lost
}

// placeFor returns the index of the first record that lies above e, where e
// should have come before.
func (h *history) placeFor(e *fanout.Event) int {
	for i, later := range h.events() {
		if later.Revision > e.Revision {
			return i
		}
	}
	return len(h.records)
}
