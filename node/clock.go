package node

import (
	"time"

	"github.com/watchcast/watchcast/fsm"
)

// clock reads the cluster's time while this node leads: from what the state held when
// the term began, by the monotonic clock. See [fsm.Stamp].
type clock struct {
	base  time.Duration
	began time.Time
}

func newClock(base time.Duration) clock { return clock{base, time.Now()} }

func (c clock) now() time.Duration { return c.base + time.Since(c.began) }

// stamped returns the command with the stamp that it needs, if it does.
func (e *epoch) stamped(c fsm.Command) fsm.Command {
	if c.NeedsStamp() {
		c.Stamp = fsm.Stamp{Term: e.term, Time: e.clock.now()}
	}
	return c
}

// Remaining returns how long an entry that was read from this node lives still, false
// if it does not expire; 0 means that it is about to go. On the leader it is exact;
// another node knows the cluster's time only from what it has applied last, so it may
// be up to ten seconds too long there.
func (n *Node) Remaining(entry fsm.Entry) (ttl time.Duration, expires bool) {
	if entry.Expires == 0 {
		return 0, false
	}
	now := n.machine.Time()
	if e, _ := n.currentEpoch(); e != nil {
		now = e.clock.now()
	}
	return max(0, entry.Expires-now), true
}
