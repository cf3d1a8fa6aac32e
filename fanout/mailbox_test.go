package fanout

import "pgregory.net/rapid"

// mailbox says what a watcher's bounded buffer must hand out, from the promises
// alone: what fits is kept, with a slot for each marker; the events of one
// revision go together; what is lost widens the marker at its place.
type mailbox struct {
	limit  int
	spans  []span   // oldest first, none empty
	staged []*Event // of a batch that is not complete
	dead   uint64   // revision of the batch that was lost last
}

// span is either events that were kept, or a range that was lost.
type span struct {
	kept     []*Event
	from, to uint64
}

func (m *mailbox) gapOpen() bool {
	return len(m.spans) > 0 && m.spans[len(m.spans)-1].kept == nil
}

// held returns the slots in use: events, and markers that something follows.
func (m *mailbox) held() int {
	n := len(m.staged)
	for i, s := range m.spans {
		if s.kept != nil {
			n += len(s.kept)
		} else if i < len(m.spans)-1 || len(m.staged) > 0 {
			n++
		}
	}
	return n
}

// put offers one event and returns how many are lost by it.
func (m *mailbox) put(e *Event) (dropped int) {
	if e.inBatch() && e.Revision == m.dead {
		return 1
	}
	need := 1
	if m.gapOpen() && len(m.staged) == 0 {
		need = 2
	}
	if m.held()+need > m.limit {
		dropped = 1 + len(m.staged)
		m.staged = nil
		m.lose(e.Revision, e.Revision)
		if e.inBatch() {
			m.dead = e.Revision
		}
		return dropped
	}
	m.staged = append(m.staged, e)
	if !e.inBatch() {
		m.commit()
	}
	return 0
}

func (m *mailbox) commit() {
	if len(m.staged) > 0 {
		m.spans = append(m.spans, span{kept: m.staged})
		m.staged = nil
	}
}

// lose records a range that was lost behind everything held.
func (m *mailbox) lose(from, to uint64) {
	if m.gapOpen() {
		m.spans[len(m.spans)-1].to = to
		return
	}
	m.spans = append(m.spans, span{from: from, to: to})
}

// take returns what the consumer gets next, nil if nothing.
func (m *mailbox) take() *Event {
	if len(m.spans) == 0 {
		return nil
	}
	s := &m.spans[0]
	if s.kept == nil {
		if len(m.spans) == 1 && len(m.staged) > 0 {
			return nil // where the gap ends depends on the batch
		}
		m.spans = m.spans[1:]
		return lagged(s.from, s.to)
	}
	e := s.kept[0]
	if s.kept = s.kept[1:]; len(s.kept) == 0 {
		m.spans = m.spans[1:]
	}
	return e
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
