package fsm

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// Result is the outcome of one command, by value: the Response of the future
// that raft.Apply returns. Of a command that repeats an earlier request, it is that
// of the earlier one.
type Result struct {
	// Revision is the log index of the command, also of one that failed.
	Revision uint64
	// PrevRevision is the revision of the key's previous change, a delete
	// included; 0 if there is none that is remembered, the command failed, or it
	// changed more than one key.
	PrevRevision uint64
	// Err is why nothing was changed; nil if the command was carried out.
	Err error
}

// apply carries out one log entry of type LogCommand. It appends the events of
// what was changed.
func (s *store) apply(l *raft.Log, events []*fanout.Event) ([]*fanout.Event, Result) {
	s.revision = l.Index
	var c Command
	err := c.parse(l.Data)
	if err == nil {
		err = s.begin(&c, l)
	}
	if err != nil {
		return events, Result{Revision: l.Index, Err: err}
	}
	if c.RequestID != "" {
		if earlier, ok := s.requests.byID[c.RequestID]; ok {
			return events, earlier.answers(c, l.Index)
		}
	}
	before := len(events)
	events, err = s.command(&c, events, moment{l.Index, stamp(l.AppendedAt)})
	r := Result{Revision: l.Index, Err: err}
	if len(events) == before+1 {
		r.PrevRevision = events[before].PrevRevision
	}
	if c.RequestID != "" && r.lasting() {
		s.requests.add(&request{id: c.RequestID, sum: c.identity(), time: s.time, Result: r})
	}
	return events, r
}

// begin refuses a command that does not count, whatever it is to do, and takes over
// its time.
func (s *store) begin(c *Command, l *raft.Log) error {
	if c.Op != CommandInit && !s.initialized() {
		return ErrNotInitialized
	}
	if c.Stamp.Term == 0 {
		return nil
	}
	if c.Stamp.Term != l.Term {
		return fmt.Errorf("%w: it is of term %d, and came into the log in term %d; repeat", ErrStaleStamp, c.Stamp.Term, l.Term)
	}
	s.time = max(s.time, c.Stamp.Time)
	s.requests.age(s.time)
	return nil
}

func (s *store) command(c *Command, events []*fanout.Event, at moment) ([]*fanout.Event, error) {
	switch c.Op {
	case CommandInit:
		if !s.initialized() {
			s.cluster = c.Cluster
		}
		return events, nil
	case CommandExpire:
		return s.expire(events, at), nil
	}
	if err := c.Check(s.cluster); err != nil {
		return events, err
	}
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
