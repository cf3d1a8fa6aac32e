package fanout

import (
	"slices"

	"pgregory.net/rapid"
)

// mailbox says what a watcher's bounded buffer must hand out, from the promises
// alone and without a thought for what it costs: what fits is kept, the events of
// one revision go together, and a marker stands for what is lost.
type mailbox struct {
	limit  int
	policy Policy
	items  []*Event // kept events, and markers, oldest first
	begun  uint64   // revision of the batch of which some was taken
	ended  bool     // by Cancel
}

// changes returns how many of the items count against the limit.
func (m *mailbox) changes() (n int) {
	for _, e := range m.items {
		if e.Op != Lagged {
			n++
		}
	}
	return n
}

// put offers the events of one revision.
func (m *mailbox) put(group []*Event) (dropped, conflated int) {
	if m.ended {
		return 0, 0
	}
	switch m.policy {
	case Conflate:
		for _, e := range group {
			m.items = slices.DeleteFunc(m.items, func(old *Event) bool {
				superseded := old.Op != Lagged && old.Key == e.Key
				if superseded {
					conflated++
				}
				return superseded
			})
		}
		m.items = append(m.items, group...)
		return 0, conflated
	case DropOldest:
		for len(group) <= m.limit && m.changes()+len(group) > m.limit {
			n := m.dropOldest()
			if n == 0 {
				break
			}
			dropped += n
		}
	}
	if m.changes()+len(group) <= m.limit {
		m.items = append(m.items, group...)
		return dropped, 0
	}
	if m.policy == Cancel {
		m.ended = true
		return 0, 0
	}
	m.lose(group[0].Revision, group[0].Revision)
	return dropped + len(group), 0
}

// dropOldest makes a marker of the oldest revision of which nothing was taken.
func (m *mailbox) dropOldest() (dropped int) {
	for i, e := range m.items {
		if e.Op == Lagged || e.Revision == m.begun {
			continue
		}
		end := i
		for end < len(m.items) && m.items[end].Op != Lagged && m.items[end].Revision == e.Revision {
			end++
		}
		m.items = slices.Replace(m.items, i, end, lagged(e.Revision, e.Revision))
		return end - i
	}
	return 0
}

// lose records a range that was lost behind everything held.
func (m *mailbox) lose(from, to uint64) {
	if m.policy == Cancel {
		m.ended = true
	}
	if !m.ended {
		m.items = append(m.items, lagged(from, to))
	}
}

// take returns what the consumer gets next, nil if nothing. Markers with nothing
// in between are one.
func (m *mailbox) take() *Event {
	if len(m.items) == 0 {
		return nil
	}
	e := m.items[0]
	m.items = m.items[1:]
	if e.Op != Lagged {
		if e.inBatch() {
			m.begun = e.Revision
		}
		return e
	}
	to := e.Revision
	for len(m.items) > 0 && m.items[0].Op == Lagged {
		to = m.items[0].Revision
		m.items = m.items[1:]
	}
	return lagged(e.PrevRevision, to)
}

// ledger checks what a consumer receives: in order, each event once, nothing
// inside a range that it was told is lost.
type ledger struct {
	through  uint64 // revision of what was received last
	batch    uint64 // the batch that was received last
	received int    // events of keys
	ranges   [][2]uint64
}

func (l *ledger) add(t rapid.TB, e *Event) {
	t.Helper()
	from := e.Revision
	if e.Op == Lagged {
		from = e.PrevRevision
		l.ranges = append(l.ranges, [2]uint64{from, e.Revision})
	} else {
		l.received++
	}
	if sibling := e.inBatch() && e.Revision == l.batch; (from <= l.through && !sibling) || from > e.Revision {
		t.Fatalf("received %v of %d..%d after revision %d", e.Op, from, e.Revision, l.through)
	}
	l.through = e.Revision
	if e.inBatch() {
		l.batch = e.Revision
	}
}

// covers reports whether a change of that revision was told to be lost.
func (l *ledger) covers(revision uint64) bool {
	for _, r := range l.ranges {
		if r[0] <= revision && revision <= r[1] {
			return true
		}
	}
	return false
}
