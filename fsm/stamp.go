package fsm

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds of the times in a [Command].
const (
	// MaxTTL is the longest time to live: ten years.
	MaxTTL = 10 * 365 * 24 * time.Hour

	// maxTime leaves room for MaxTTL above it.
	maxTime = 1<<63 - 1 - MaxTTL
)

// Stamp says when a command was proposed, by the cluster's own clock: how long the
// cluster has had a leader. Only differences mean anything.
//
// A leader reads: the time of the state when its term began ([FSM.Time], with all
// earlier terms applied), plus what its monotonic clock has counted since. So time
// stands still where there is no leader, and nothing that is measured by it happens
// early.
type Stamp struct {
	// Term is the leader's. A command that came into the log in another one is
	// refused ([ErrStaleStamp]), because its time is by a clock that was replaced.
	Term uint64
	// Time is the leader's reading, not negative.
	Time time.Duration
}

// checkTimes refuses what Append would not have written.
func (c *Command) checkTimes(seen fieldSet) error {
	const both = 1<<fieldTerm | 1<<fieldTime
	switch {
	case seen&both != 0 && (seen&both != both || c.Stamp.Term == 0):
		return errors.New("a stamp has a term, which is not 0, and a time")
	case c.Stamp.Time < 0 || c.Stamp.Time > maxTime:
		return fmt.Errorf("the time of its stamp is %d ns; give at most %d", uint64(c.Stamp.Time), maxTime)
	case seen.has(fieldTTL) && (c.TTL <= 0 || c.TTL > MaxTTL):
		return fmt.Errorf("its time to live is %d ns; give 1 to %d", uint64(c.TTL), MaxTTL)
	case seen.has(fieldRequestID) && (c.RequestID == "" || len(c.RequestID) > MaxRequestIDBytes):
		return fmt.Errorf("its request id has %d bytes; give 1 to %d", len(c.RequestID), MaxRequestIDBytes)
	}
	return nil
}

// NeedsStamp reports whether the command must have a Stamp; otherwise it must have
// none.
func (c *Command) NeedsStamp() bool {
	return c.Op == CommandExpire || c.TTL != 0 || c.RequestID != "" ||
		slices.ContainsFunc(c.Batch, func(part Command) bool { return part.TTL != 0 })
}

func (c *Command) checkStamp() error {
	if has := c.Stamp.Term != 0; has != c.NeedsStamp() {
		return fmt.Errorf("it has a stamp: %v; it needs one: %v", has, !has)
	}
	for _, part := range c.Batch {
		if part.Stamp.Term != 0 || part.RequestID != "" {
			return errors.New("stamp and request id belong to a batch, not to a part of it")
		}
	}
	return nil
}
