package fanouttest

import (
	"fmt"

	"github.com/watchcast/watchcast/fanout"
)

// Verdict is what a [Chain] says of an event.
type Verdict uint8

const (
	Fresh  Verdict = iota + 1 // it follows what was seen of the key
	Repeat                    // it was seen, or is older than what was: drop it
	Gap                       // it is new, and something before it was lost
)

// String gives "fresh", "repeat", "gap".
func (v Verdict) String() string {
	switch v {
	case Fresh:
		return "fresh"
	case Repeat:
		return "repeat"
	case Gap:
		return "gap"
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// Chain finds losses without markers, as a plain subscriber must that keeps no
// operations out and does not conflate. Let the base of a key be the revision of
// the last event seen for it, or else the revision at which the watch stands. An
// event at or below the base is a repeat. Something was lost if PrevRevision lies
// above the base, or is 0 although the key was seen to exist.
//
// The loss shows at the key's next event; what was lost last of a key it cannot
// see. Nor can it see that a key came and went if both were lost and the writer
// has forgotten the tombstone by the time of the key's next event; or that it went,
// if it was not known to exist. Of anything else, if nothing shows, nothing was lost.
//
// The zero value stands at revision 0, where nothing exists. One goroutine at a
// time may use it.
type Chain struct {
	stands uint64
	links  map[string]link
}

// link is how a key was seen last.
type link struct {
	revision uint64
	exists   bool
}

// Stand makes the watch stand at revision: its consumer read the state there, and
// found the keys of state. What was seen above that remains. An older read than
// the last tells it nothing.
func (c *Chain) Stand(revision uint64, state State) {
	if revision < c.stands {
		return
	}
	links := make(map[string]link)
	for key := range state {
		links[key] = link{revision: revision, exists: true}
	}
	for key, l := range c.links {
		if l.revision > revision {
			links[key] = l
		}
	}
	c.links = links
	c.stands = revision
}

// See takes the next event and judges it. A control event is Fresh and changes
// nothing; it is for the receiver to read again and Stand. So is nil, which is no
// event.
func (c *Chain) See(e *fanout.Event) Verdict {
	if e == nil || e.Control() {
		return Fresh
	}
	was, seen := c.links[e.Key]
	base := c.stands
	if seen {
		base = was.revision
	}
	if e.Revision <= base {
		return Repeat
	}
	if c.links == nil {
		c.links = make(map[string]link)
	}
	c.links[e.Key] = link{revision: e.Revision, exists: e.Op == fanout.Put}
	if e.PrevRevision > base || was.exists && e.PrevRevision == 0 {
		return Gap
	}
	return Fresh
}
