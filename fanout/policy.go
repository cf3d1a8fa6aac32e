package fanout

import "strconv"

// Policy says what a watcher loses when its buffer is full.
type Policy uint8

// The policies. Whatever is lost is told by one [Lagged] event with the exact
// range, at its place in the order.
const (
	// DropNewest keeps what is held and loses what comes, until there is room
	// again: the consumer sees where its trouble began. The default.
	DropNewest Policy = iota
	// DropOldest loses what has waited longest: the consumer is told of the
	// loss first, and then gets what is freshest.
	DropOldest
	// Conflate holds the newest change of each key, and loses none of these;
	// older ones of the same key are left out without a marker. It needs no
	// size: what it holds is bounded by the keys that the watcher receives.
	Conflate
	// Cancel ends the watcher with [ErrLagged]. What it holds by then may
	// still be taken.
	Cancel
)

// String gives "drop-newest", "drop-oldest", "conflate", "cancel".
func (p Policy) String() string {
	switch p {
	case DropNewest:
		return "drop-newest"
	case DropOldest:
		return "drop-oldest"
	case Conflate:
		return "conflate"
	case Cancel:
		return "cancel"
	}
	return "policy(" + strconv.Itoa(int(p)) + ")"
}
