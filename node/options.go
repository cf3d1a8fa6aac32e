package node

import (
	"time"

	"github.com/watchcast/watchcast/fsm"
)

// WriteOption says more about a write.
type WriteOption func(*fsm.Command)

func with(c fsm.Command, opts []WriteOption) fsm.Command {
	if len(opts) == 0 {
		return c // and stays on the stack, which it does not where an option gets its address
	}
	return withOptions(c, opts)
}

func withOptions(c fsm.Command, opts []WriteOption) fsm.Command {
	for _, option := range opts {
		option(&c)
	}
	return c
}

// IfRevision makes a write depend on the key's revision: it must be this one,
// 0 for a key that must not exist. Otherwise the write fails with
// [fsm.ErrConflict].
func IfRevision(revision uint64) WriteOption {
	return func(c *fsm.Command) { c.IfRevision = &revision }
}

// TTL makes a put's key expire after ttl, 1 ns to [fsm.MaxTTL]; 0 is for ever, as
// without it. It never expires early; it may be late by the time in which the cluster
// has no leader, and 10 s more when the leader changes. A later put of the key begins
// anew, with its own TTL or none. Watchers receive [fanout.Expire].
func TTL(ttl time.Duration) WriteOption {
	return func(c *fsm.Command) { c.TTL = ttl }
}

// RequestID makes a write safe to repeat, after [ErrUnknownOutcome] above all: of
// writes with the same id the first one counts, and the others return what that one
// did, its error too. The id is 1 to [fsm.MaxRequestIDBytes] bytes, and for one
// request only, or the write fails with [fsm.ErrRequestReused]. It is remembered for
// [fsm.RequestLifetime], and over at least 131,071 later ones.
func RequestID(id string) WriteOption {
	return func(c *fsm.Command) { c.RequestID = id }
}
