package fsm

import (
	"fmt"
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
	// included; 0 if there is none that is remembered, or the command failed.
	PrevRevision uint64
	// Err is why nothing was changed; nil if the command was carried out.
	Err error
}

// apply carries out one log entry of type LogCommand. The event is nil if
// nothing was changed.
func (s *store) apply(l *raft.Log) (*fanout.Event, Result) {
	s.revision = l.Index
	e, err := s.command(l)
	r := Result{Revision: l.Index, Err: err}
	if e != nil {
		r.PrevRevision = e.PrevRevision
	}
	return e, r
}

func (s *store) command(l *raft.Log) (*fanout.Event, error) {
	c, err := ParseCommand(l.Data)
	if err != nil {
		return nil, err
	}
	if c.Op == CommandInit {
		if !s.initialized() {
			s.cluster = c.Cluster
		}
		return nil, nil
	}
	if !s.initialized() {
		return nil, ErrNotInitialized
	}
	if err := fanout.CheckKey(c.Key); err != nil {
		return nil, err
	}
	if c.Op == CommandDelete {
		return s.delete(c, l.Index, stamp(l.AppendedAt))
	}
	if limit := s.cluster.MaxValueBytes; len(c.Value) > limit {
		return nil, fmt.Errorf("%w: it has %d bytes; the limit of this cluster is %d", ErrValueTooLarge, len(c.Value), limit)
	}
	return s.put(c, l.Index, stamp(l.AppendedAt))
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
