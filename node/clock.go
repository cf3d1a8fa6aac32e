package node

import (
	"sync/atomic"
	"time"

	"github.com/watchcast/watchcast/fsm"
)

// clock reads the cluster's time while this node leads: from what the state held when
// the term began, by the monotonic clock. See [fsm.Stamp].
//
// A restore sets it to the time of the backup. No write is on its way to Raft then:
// see writeGate.
type clock struct {
	since atomic.Pointer[reading]
	moved chan struct{} // signalled when it was set anew; has room for one
}

// reading is what the cluster's time was at a moment.
type reading struct {
	time time.Duration
	at   time.Time
}

func (c *clock) set(now time.Duration) {
	c.since.Store(&reading{now, time.Now()})
	select {
	case c.moved <- struct{}{}:
	default: // nobody looks, or will look anyway
	}
}

func (c *clock) now() time.Duration {
	r := c.since.Load()
	return r.time + time.Since(r.at)
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
