package fanouttest

import "errors"

// The promises, each by the name of how it was broken. Errors of this package
// wrap one of them; use [errors.Is].
var (
	// ErrHistory says that what was committed is no history: a revision that
	// does not grow, a batch that is not whole, a PrevRevision that is wrong.
	// Then the writer is at fault and nothing can be said of the receivers.
	ErrHistory = errors.New("fanouttest: not a history")
	// ErrForeign is an event that was never committed, that differs from what
	// was, or that the receiver's filter or operations leave out.
	ErrForeign = errors.New("fanouttest: foreign event")
	// ErrOrder is an event or a marker that stands behind a later one, or below
	// the start.
	ErrOrder = errors.New("fanouttest: out of order")
	// ErrRepeat is a change that was received twice.
	ErrRepeat = errors.New("fanouttest: received twice")
	// ErrTornBatch is a batch of which some was received and some was not.
	ErrTornBatch = errors.New("fanouttest: torn batch")
	// ErrLost is a change that was neither received nor flagged.
	ErrLost = errors.New("fanouttest: lost and not flagged")
	// ErrMarker is a loss marker that says more than was lost.
	ErrMarker = errors.New("fanouttest: marker is not exact")
	// ErrChain is a loss that PrevRevision does not show at the key's next
	// event, or one that it shows where nothing was lost.
	ErrChain = errors.New("fanouttest: broken chain")
	// ErrStale is a read that lacks something the consumer had been told of
	// before it read.
	ErrStale = errors.New("fanouttest: stale read")
	// ErrDiverged is a state, as read or as it came out of the events, that is
	// not the state that was committed.
	ErrDiverged = errors.New("fanouttest: diverged")
)
