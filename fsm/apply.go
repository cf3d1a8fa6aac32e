package fsm

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// Result is the outcome of one command, by value: the Response of the future
// that raft.Apply returns.
type Result struct {
	// Revision is the log index of the command, also of one that failed.
	Revision uint64
	// PrevRevision is the revision of the key's previous change, a delete
	// included; 0 if there is none that is remembered, the command failed, or it
	// is a batch of several.
	PrevRevision uint64
	// Err is why nothing was changed; nil if the command was carried out.
	Err error
}

// apply carries out one log entry of type LogCommand. It appends the events of
// what was changed.
func (s *store) apply(l *raft.Log, events []*fanout.Event) ([]*fanout.Event, Result) {
	s.revision = l.Index
	before := len(events)
	events, err := s.command(l, events)
	r := Result{Revision: l.Index, Err: err}
	if len(events) == before+1 {
		r.PrevRevision = events[before].PrevRevision
	}
	return events, r
}

func (s *store) command(l *raft.Log, events []*fanout.Event) ([]*fanout.Event, error) {
	c, err := ParseCommand(l.Data)
	if err != nil {
		return events, err
	}
	if c.Op == CommandInit {
		if !s.initialized() {
			s.cluster = c.Cluster
		}
		return events, nil
	}
	if !s.initialized() {
		return events, ErrNotInitialized
	}
	if err := c.Check(s.cluster); err != nil {
		return events, err
	}
	at := moment{l.Index, stamp(l.AppendedAt)}
	if c.Op == CommandBatch {
		return s.batch(c.Batch, events, at)
	}
	if err := s.allows(c); err != nil {
		return events, err
	}
	return append(events, s.change(c, at)), nil
}

// stamp reduces a time to what every replica has of it: the leader's carries a
// monotonic clock and a time zone, one from a snapshot has neither. The zero
// time, for entries that came without, stays zero.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.Unix(0, t.UnixNano()).UTC()
}
