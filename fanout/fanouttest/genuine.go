package fanouttest

import (
	"bytes"
	"fmt"

	"github.com/watchcast/watchcast/fanout"
)

// Genuine checks that the receiver got nothing but what was committed and what
// is meant for it: each change as it was committed, keys of its filter,
// operations of its own, a Reset only where the state was replaced; an answer as
// its key stood at its revision. The error wraps [ErrForeign].
func (r *Receiver) Genuine() error {
	h := r.history()
	state := r.log.State(h.start, h.filter)
	for i, e := range h.initials() {
		if e.Control() {
			continue // it has its place elsewhere, says Ordered
		}
		if wrong := initialDiffers(e, state); wrong != "" {
			return h.breach(ErrForeign, i, "%s of the initial state: %s", describe(e), wrong)
		}
		if !h.wants(e) {
			return h.breach(ErrForeign, i, "%s is not for it", describe(e))
		}
	}
	for i, e := range h.events() {
		if e.Op == fanout.Lagged || e.Op == fanout.Progress {
			continue
		}
		if h.records[i].asked {
			if wrong := h.answerDiffers(e); wrong != "" {
				return h.breach(ErrForeign, i, "the answer %s is not what was committed: %s", describe(e), wrong)
			}
			continue
		}
		committed := h.find(e.Revision, e.Key)
		if committed == nil {
			return h.breach(ErrForeign, i, "%s was never committed", describe(e))
		}
		if wrong := h.differs(e, committed); wrong != "" {
			return h.breach(ErrForeign, i, "%s is not what was committed: %s", describe(e), wrong)
		}
		if !h.wants(e) {
			return h.breach(ErrForeign, i, "%s is not for it", describe(e))
		}
	}
	return nil
}

// answerDiffers says what an answer has wrong of how its key stood at its revision.
func (h *history) answerDiffers(e *fanout.Event) string {
	if !h.wants(e) {
		return "it is not for it"
	}
	last := h.lastOf(e.Key, e.Revision)
	switch {
	case last == nil:
		return "there never was such a key"
	case (e.Op == fanout.Put) != (last.Op == fanout.Put):
		return fmt.Sprintf("the last change there is %s", describe(last))
	case e.Op == fanout.Put && (last.Revision != e.Revision || !bytes.Equal(last.Value, e.Value)):
		return fmt.Sprintf("the last change there is %s with %q", describe(last), last.Value)
	}
	return ""
}

// initialDiffers says what an event of the initial state has wrong.
func initialDiffers(e *fanout.Event, state State) string {
	entry, ok := state[e.Key]
	switch {
	case e.Op != fanout.Put:
		return "it is no put"
	case !ok:
		return "there is no such key in it"
	case !entry.equal(Entry{Revision: e.Revision, Value: e.Value}):
		return fmt.Sprintf("its value is %q, want %q of revision %d", e.Value, entry.Value, entry.Revision)
	}
	return ""
}

// differs says what a change has that the committed one has not.
func (h *history) differs(e, committed *fanout.Event) string {
	size := func(e *fanout.Event) uint32 { return max(e.BatchSize, 1) } // 0 and 1 mean the same
	switch {
	case e.Op != committed.Op:
		return fmt.Sprintf("it was %v", committed.Op)
	case !bytes.Equal(e.Value, committed.Value):
		return fmt.Sprintf("its value is %q, want %q", e.Value, committed.Value)
	case !h.atLeastOnce && !bytes.Equal(e.PrevValue, committed.PrevValue):
		return fmt.Sprintf("its PrevValue is %q, want %q", e.PrevValue, committed.PrevValue)
	case e.PrevRevision != committed.PrevRevision:
		return fmt.Sprintf("its PrevRevision is %d, want %d", e.PrevRevision, committed.PrevRevision)
	case e.Batch != committed.Batch || size(e) != size(committed):
		return fmt.Sprintf("it was number %d of %d", committed.Batch+1, size(committed))
	case e.Op != fanout.Reset && !e.Time.Equal(committed.Time):
		return fmt.Sprintf("its time is %v, want %v", e.Time, committed.Time)
	}
	return ""
}
