package fanout

// buffer is a watcher's bounded queue, oldest first. It decides what is lost
// when it is full and keeps account of it. The watcher's mutex guards it.
//
// Events come and are lost by whole revisions (groups), so a batch is never
// held in part. The limit counts changes; a marker needs no room, and as no two
// stand side by side there are never more of them than changes, and one.
//
// The range of what is dropped at the end is known exactly only once something
// is kept again or the consumer has caught up. So that gap is open, in fields of
// its own: the marker is made when it closes. A gap at the front (DropOldest) is
// a marker in a slot, which grows for as long as it has not been taken.
//
// There may be a million of them, nearly all of which hold nothing or one event.
// So slots are allocated for a second one, and given back when all are taken.
type buffer struct {
	one  *Event // what is held, if that is one event and more is nil
	more *queue // what is held; nil unless it was needed and is not drained

	gapFrom, gapTo uint64 // open gap, behind everything held; 0 if none

	limit  uint32 // changes held at most, but for Conflate
	policy Policy
	ops    opSet // what the watcher receives
}

// opSet says which operations a watcher receives; the zero value means all.
type opSet uint8

func (s opSet) has(op Op) bool { return s == 0 || op > Expire || s&(1<<op) != 0 }

// wanted returns the events of the operations that the watcher receives.
func (b *buffer) wanted(group []*Event) []*Event {
	all := true
	for _, e := range group {
		all = all && b.ops.has(e.Op)
	}
	if all {
		return group
	}
	var some []*Event
	for _, e := range group {
		if b.ops.has(e.Op) {
			some = append(some, e)
		}
	}
	return some
}

// pending returns how many changes are held.
func (b *buffer) pending() uint32 {
	switch {
	case b.more != nil:
		return b.more.events
	case b.one != nil:
		return 1
	}
	return 0
}

// put takes in the events of one revision, or loses something to the policy. It
// returns how many events were dropped and how many conflated; with Cancel,
// whether the watcher must end, with nothing taken in.
func (b *buffer) put(group []*Event) (dropped, conflated uint64, cancel bool) {
	if b.policy == Conflate {
		return 0, b.replace(group), false
	}
	size, held := uint32(len(group)), b.pending()
	if b.policy == DropOldest && size <= b.limit {
		for held+size > b.limit {
			n := b.slots(0).dropFront()
			if n == 0 {
				break // what is left belongs to a batch that the consumer has begun
			}
			held -= n
			dropped += uint64(n)
		}
	}
	if held+size > b.limit {
		if b.policy == Cancel {
			return 0, 0, true
		}
		at := group[0].Revision
		b.lose(at, at)
		return dropped + uint64(size), 0, false
	}
	if size == 1 && b.more == nil && !b.ready() {
		b.one = group[0]
		return dropped, 0, false
	}
	q := b.slots(len(group))
	b.closeGap()
	for _, e := range group {
		q.append(e)
	}
	return dropped, 0, false
}

// slots returns the queue, with what is held in it, and room for so many more
// the first time.
func (b *buffer) slots(room int) *queue {
	if b.more == nil {
		b.more = newQueue(room + 1)
		if b.one != nil {
			b.more.append(b.one)
			b.one = nil
		}
	}
	return b.more
}

// reserve prepares for n changes, if they fit, so that slots are allocated once.
func (b *buffer) reserve(n int) {
	if n > 1 && b.more == nil && b.ops == 0 && b.policy != Conflate && n+int(b.pending()) <= int(b.limit) {
		b.slots(n)
	}
}

// lose widens the open gap through from..to, which lies above it, or opens one.
func (b *buffer) lose(from, to uint64) {
	if b.gapTo == 0 {
		b.gapFrom = from
	}
	b.gapTo = to
}

// closeGap puts the marker of the open gap, if there is one, behind what is
// held; onto the marker there, if that is the last.
func (b *buffer) closeGap() {
	if b.gapTo == 0 {
		return
	}
	if q := b.more; q.n > 0 {
		if last := *q.slot(q.n - 1); last.Op == Lagged {
			last.Revision = b.gapTo
			b.gapFrom, b.gapTo = 0, 0
			return
		}
	}
	b.more.append(b.takeGap())
}

// takeGap makes the marker of the open gap.
func (b *buffer) takeGap() *Event {
	e := &Event{Op: Lagged, PrevRevision: b.gapFrom, Revision: b.gapTo}
	b.gapFrom, b.gapTo = 0, 0
	return e
}

// take removes the oldest event; nil if there is none. With nothing held, an
// open gap ends here: the consumer has caught up with it.
func (b *buffer) take() *Event {
	if e := b.one; e != nil {
		b.one = nil
		return e
	}
	if q := b.more; q != nil {
		e := q.pop()
		if e != nil && e.Op == Lagged {
			b.joinGaps(e)
		}
		if q.n == 0 && q.conflate == nil {
			b.more = nil
		}
		if e != nil {
			return e
		}
	}
	if b.gapTo != 0 {
		return b.takeGap()
	}
	return nil
}

// joinGaps makes marker, which was taken, speak for those that follow it with no
// change in between.
func (b *buffer) joinGaps(marker *Event) {
	q := b.more
	for q.front() != nil && q.front().Op == Lagged {
		marker.Revision = q.pop().Revision
	}
	if q.n == 0 && b.gapTo != 0 {
		marker.Revision = b.takeGap().Revision
	}
}

// ready reports whether take would return something.
func (b *buffer) ready() bool {
	return b.one != nil || b.more != nil && b.more.n > 0 || b.gapTo != 0
}

// clear forgets everything.
func (b *buffer) clear() { *b = buffer{limit: b.limit, policy: b.policy, ops: b.ops} }
