package nats

import (
	"fmt"

	"github.com/watchcast/watchcast/fanout"
)

// UpdateKind says what an [Update] is about.
type UpdateKind uint8

// What a [Watch] tells.
const (
	// Changed is a change of a key: Event has it.
	Changed UpdateKind = iota + 1
	// Synced comes once, when everything was given that was there when the watch
	// began, and stood at Revision. A raw watch, which gives nothing of that, begins
	// to tell losses here.
	Synced
	// Stale says that what was given may be older than the store, until Fresh: nothing
	// is heard of the leader, or the consumer was too slow. Cause says which.
	Stale
	// Fresh says that everything up to Revision was given again. Of a raw watch, which
	// gives nothing again, it says that what is published comes again, and Revision is 0.
	Fresh
	// Lost says, of a raw watch only, that changes were not given: of Key, or of any
	// key if that is empty, with revisions in Range, or unknown ones if that is zero.
	// Cause says how it is known.
	Lost
)

// String gives the name in lower case.
func (k UpdateKind) String() string {
	switch k {
	case Changed:
		return "changed"
	case Synced:
		return "synced"
	case Stale:
		return "stale"
	case Fresh:
		return "fresh"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Update is what a [Watch] gives: a change, or something about the watch itself.
type Update struct {
	Kind     UpdateKind
	Event    *fanout.Event // of Changed; do not write to it
	Asked    bool          // of Changed: it did not come by itself, the leader was asked
	Revision uint64        // of Synced and Fresh
	Key      string        // of Lost
	Range    Range         // of Lost
	Cause    string        // of Stale and Lost, one line
}
