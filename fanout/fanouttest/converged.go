package fanouttest

import (
	"maps"

	"github.com/watchcast/watchcast/fanout"
)

// Converged checks what the consumer knows. Each
// state that it read is the committed one, and has what the consumer had been
// told of before (the error wraps [ErrDiverged] or [ErrStale]); and the state
// that comes out of what it read and received is the committed one, of its
// filter, at through, or where it knows more, there ([ErrDiverged]). A consumer
// that does not read again after a Lagged or a Reset is therefore found out,
// unless what it lost made no difference.
//
// With [Ops] the committed state is what it was when the consumer last read, and
// after that what these operations made of it.
func (r *Receiver) Converged(through uint64) error {
	h := r.history()
	if err := h.reads(); err != nil {
		return err
	}
	if !h.begun() && (through == 0 || through < h.start) {
		return nil // the consumer knows nothing yet, and is not asked to
	}
	have := h.outcome()
	if wrong := have.state.differs(h.expected(have, through)); wrong != "" {
		return h.breach(ErrDiverged, len(h.records), "its state at %d is not what was committed: %s", through, wrong)
	}
	return nil
}

// reads checks what was read.
func (h *history) reads() error {
	p := player{view: h.view, filter: h.filter, state: make(State)}
	played, told := uint64(0), h.start
	for i := range h.records {
		rec := h.records[i]
		if rec.event != nil {
			told = max(told, rec.event.Revision)
			continue
		}
		if rec.revision < told {
			return h.breach(ErrStale, i, "the state was read at %d, and the consumer knew of %d", rec.revision, told)
		}
		if rec.revision < played {
			return h.breach(ErrStale, i, "the state was read at %d, after one of %d", rec.revision, played)
		}
		played = rec.revision
		p.play(played)
		if wrong := rec.state.differs(p.state); wrong != "" {
			return h.breach(ErrDiverged, i, "the state read at %d is not what was committed: %s", rec.revision, wrong)
		}
	}
	return nil
}

// outcome is what a consumer knows.
type outcome struct {
	state  State
	stands uint64            // revision of the last read, or the start
	seen   map[string]uint64 // revision of the last event of a key
}

// knows returns the revision of key's state.
func (o *outcome) knows(key string) uint64 { return max(o.stands, o.seen[key]) }

// outcome does what a consumer does: it applies events to what it read, but for
// those that the read has already. No read is older than what was known before.
func (h *history) outcome() *outcome {
	o := &outcome{state: h.log.State(h.start, h.filter), stands: h.start, seen: make(map[string]uint64)}
	if h.initial && h.wantsOp(fanout.Put) {
		o.state = make(State)
	}
	for _, e := range h.initials() {
		o.state.apply(e)
	}
	for i := h.body; i < len(h.records); i++ {
		e := h.records[i].event
		switch {
		case e == nil:
			o.state, o.stands = maps.Clone(h.records[i].state), h.records[i].revision
		case !e.Control() && e.Revision > o.knows(e.Key):
			o.state.apply(e)
			o.seen[e.Key] = e.Revision
		}
	}
	return o
}

// expected returns the committed state: of each key at through, or where have
// knows more of it, there.
func (h *history) expected(have *outcome, through uint64) State {
	want := make(State)
	resets := 0
	for _, e := range h.view.changes {
		due := func(key string) bool { return e.Revision <= max(through, have.knows(key)) }
		if e.Op != fanout.Reset {
			if h.filter.Match(e.Key) && due(e.Key) && (e.Revision <= have.stands || h.wantsOp(e.Op)) {
				want.apply(e)
			}
			continue
		}
		state := h.states[resets]
		resets++
		for key := range want {
			if due(key) {
				want.set(key, state)
			}
		}
		for key := range state {
			if h.filter.Match(key) && due(key) {
				want.set(key, state)
			}
		}
	}
	return want
}
