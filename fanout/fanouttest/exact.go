package fanouttest

import (
	"fmt"
	"math"
	"slices"

	"github.com/watchcast/watchcast/fanout"
)

// Exact checks that loss markers say no more than what was lost: the range of a
// Lagged is none backwards, begins above the start, has nothing in it that was
// received and something that was committed. The latter may be of other keys: a
// dispatcher that was overtaken tells everyone, and does not know whom it
// concerned. With [OwnLosses] the range begins and ends with a change that was
// for the receiver. A watcher that ended with [fanout.ErrLagged] lost something.
// The error wraps [ErrMarker].
//
// With [AtLeastOnce] a range is only told once more, by who does not know what
// was received, and nothing but its direction is checked. But if the Lagged names a
// key, the receiver has found out itself: then something of that key was committed in
// the range, and nothing of it was received.
func (r *Receiver) Exact() error {
	h := r.history()
	var received []uint64
	last := h.start
	for _, e := range h.events() {
		last = max(last, e.Revision)
		if e.Op != fanout.Lagged && e.Op != fanout.Progress {
			received = append(received, e.Revision)
		}
	}
	slices.Sort(received)
	own := h.books()
	for i, e := range h.events() {
		from, to := e.PrevRevision, e.Revision
		switch {
		case e.Op != fanout.Lagged:
			continue
		case from > to:
			return h.breach(ErrMarker, i, "%s is no range", describe(e))
		case e.Key != "":
			if wrong := h.keyedMarkerDiffers(e, own); wrong != "" {
				return h.breach(ErrMarker, i, "%s %s", describe(e), wrong)
			}
			continue
		case h.atLeastOnce:
			continue
		case from <= h.start:
			return h.breach(ErrMarker, i, "%s begins at or below the start", describe(e))
		case !h.any(from, to):
			return h.breach(ErrMarker, i, "in %s nothing was committed", describe(e))
		}
		if n, _ := slices.BinarySearch(received, from); n < len(received) && received[n] <= to {
			return h.breach(ErrMarker, i, "%s covers %d, which was received", describe(e), received[n])
		}
		if h.own && !(h.concerned(from) && h.concerned(to)) {
			return h.breach(ErrMarker, i, "%s begins or ends where there is nothing for it", describe(e))
		}
	}
	if h.cancelled() && !h.any(last+1, math.MaxUint64) {
		return h.breach(ErrMarker, len(h.records), "it ended because it lost something, and nothing was committed behind %d", last)
	}
	return nil
}

// keyedMarkerDiffers says what is wrong with a marker that names a key.
func (h *history) keyedMarkerDiffers(e *fanout.Event, own books) string {
	lost := 0
	for i := h.above(max(e.PrevRevision, 1) - 1); i < len(h.view.changes) && h.view.changes[i].Revision <= e.Revision; i++ {
		c := h.view.changes[i]
		if c.Key != e.Key {
			continue
		}
		if own.received[placeOf(c)] {
			return fmt.Sprintf("covers %d, which was received", c.Revision)
		}
		lost++
	}
	if lost == 0 {
		return "covers nothing of the key"
	}
	return ""
}

// concerned reports whether something at revision was for the receiver.
func (h *history) concerned(revision uint64) bool {
	for i := h.above(revision - 1); i < len(h.view.changes) && h.view.changes[i].Revision == revision; i++ {
		if h.wants(h.view.changes[i]) {
			return true
		}
	}
	return false
}
