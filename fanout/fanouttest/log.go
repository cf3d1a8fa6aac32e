package fanouttest

import (
	"bytes"
	"sort"
	"sync"

	"github.com/watchcast/watchcast/fanout"
)

// Log is what was committed, in order: what every receiver is held against. The
// writer tells it of each change before it tells the ring. Any goroutine may use
// it.
//
// It begins empty. Of a writer that begins with a state, make that known with
// [Log.Replace] before the first watch.
type Log struct {
	mu    sync.Mutex
	view  view
	rules rules
}

// LogOption configures a [Log].
type LogOption func(*Log)

// Unchained says that the writer leaves PrevRevision alone. Then it is not looked
// at, in the history, and no chain is checked.
func Unchained() LogOption {
	return func(l *Log) { l.view.unchained = true }
}

// NewLog returns an empty log.
func NewLog(options ...LogOption) *Log {
	l := new(Log)
	for _, option := range options {
		option(l)
	}
	l.rules = newRules(l.view.unchained)
	return l
}

// Commit records changes, before they are pushed: revisions grow, and the events
// of a batch come one after another, in one call or in several. The events are
// copied. What cannot be a history is kept all the same, and [Log.Err] tells.
func (l *Log) Commit(events ...*fanout.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if e == nil {
			l.rules.refuse("an event is nil")
			continue
		}
		e = copyOf(e)
		l.rules.change(e)
		l.view.changes = append(l.view.changes, e)
	}
}

// Replace records that the state was replaced as a whole by one that stands at
// revision, before the ring is told ([fanout.Ring.Reset]).
func (l *Log) Replace(revision uint64, state State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state = state.clone()
	l.rules.replace(revision, state)
	l.view.changes = append(l.view.changes, &fanout.Event{Op: fanout.Reset, Revision: revision})
	l.view.states = append(l.view.states, state)
}

// Err returns what is wrong with the history itself, nil if nothing is. It wraps
// [ErrHistory].
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rules.check()
}

// Last returns the newest committed revision, 0 if there is none.
func (l *Log) Last() uint64 {
	v := l.committed()
	if n := len(v.changes); n > 0 {
		return v.changes[n-1].Revision
	}
	return 0
}

// State returns the keys of filter as they were at revision. The values are
// shared; do not write to them.
func (l *Log) State(revision uint64, filter fanout.Filter) State {
	p := player{view: l.committed(), filter: filter, state: make(State)}
	p.play(revision)
	return p.state
}

// committed returns what was committed by now. It does not change any more: a log
// only grows at its end.
func (l *Log) committed() view {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view
}

// view is a log as it was at one moment.
type view struct {
	changes   []*fanout.Event // in order; a Reset where the state was replaced
	states    []State         // of the Resets, one after another
	unchained bool
}

// above returns the index of the first change with a revision above the given
// one.
func (v view) above(revision uint64) int {
	return sort.Search(len(v.changes), func(i int) bool { return v.changes[i].Revision > revision })
}

// find returns the change of key at revision, nil if there is none. A Reset has
// no key.
func (v view) find(revision uint64, key string) *fanout.Event {
	for i := v.above(max(revision, 1) - 1); i < len(v.changes) && v.changes[i].Revision == revision; i++ {
		if v.changes[i].Key == key {
			return v.changes[i]
		}
	}
	return nil
}

// lastOf returns the last change of key up to revision, nil if there is none.
func (v view) lastOf(key string, revision uint64) *fanout.Event {
	for i := v.above(revision) - 1; i >= 0; i-- {
		if v.changes[i].Key == key {
			return v.changes[i]
		}
	}
	return nil
}

// any reports whether something was committed at from..to.
func (v view) any(from, to uint64) bool {
	i := v.above(max(from, 1) - 1)
	return i < len(v.changes) && v.changes[i].Revision <= to
}

// player goes through a log once, forward, and has the state of some keys.
type player struct {
	view
	filter fanout.Filter
	state  State
	next   int // change
	resets int // played
}

// play makes the state that of revision; it does not go back.
func (p *player) play(revision uint64) {
	for ; p.next < len(p.changes) && p.changes[p.next].Revision <= revision; p.next++ {
		e := p.changes[p.next]
		switch {
		case e.Op == fanout.Reset:
			p.state = p.states[p.resets].restrict(p.filter)
			p.resets++
		case p.filter.Match(e.Key):
			p.state.apply(e)
		}
	}
}

// copyOf keeps what an event says, whatever becomes of it: a buffer that is used
// again, or a receiver that writes where it must not, shows as a difference.
func copyOf(e *fanout.Event) *fanout.Event {
	return &fanout.Event{
		Key:          e.Key,
		Value:        bytes.Clone(e.Value),
		PrevValue:    bytes.Clone(e.PrevValue),
		Revision:     e.Revision,
		PrevRevision: e.PrevRevision,
		Time:         e.Time,
		Batch:        e.Batch,
		BatchSize:    e.BatchSize,
		Op:           e.Op,
	}
}
