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
type buffer struct {
	ring     []*Event // grows on need; given back when drained. nil slots: see conflation
	inline   [1]*Event
	conflate *conflation // with Conflate, once something was held

	gapFrom, gapTo uint64 // open gap, behind everything held; 0 if none

	head   uint32 // index of the oldest slot
	n      uint32 // slots in use
	events uint32 // changes in these
	begun  uint32 // slots at the front that belong to a batch of which some was taken
	limit  uint32 // changes held at most, but for Conflate
	policy Policy
}

// put takes in the events of one revision, or loses something to the policy. It
// returns how many events were dropped and how many conflated; with Cancel,
// whether the watcher must end, with nothing taken in.
func (b *buffer) put(group []*Event) (dropped, conflated uint64, cancel bool) {
	if b.policy == Conflate {
		return 0, b.replace(group), false
	}
	size := uint32(len(group))
	if b.policy == DropOldest && size <= b.limit {
		for b.events+size > b.limit {
			n := b.dropFront()
			if n == 0 {
				break // what is left belongs to a batch that the consumer has begun
			}
			dropped += uint64(n)
		}
	}
	if b.events+size > b.limit {
		if b.policy == Cancel {
			return 0, 0, true
		}
		at := group[0].Revision
		b.lose(at, at)
		return dropped + uint64(size), 0, false
	}
	b.closeGap()
	for _, e := range group {
		b.append(e)
	}
	return dropped, 0, false
}

// dropFront loses the oldest revision, with the markers around it, and leaves
// one marker for all. It returns how many changes that were; 0 if none may go.
func (b *buffer) dropFront() (changes uint32) {
	var marker *Event
	var from, to uint64
	end := b.begun
	for ; end < b.n; end++ {
		e := *b.slot(end)
		switch {
		case e.Op == Lagged:
			if marker = e; from == 0 {
				from = e.PrevRevision
			}
			to = e.Revision
		case changes > 0 && e.Revision != to:
			return b.cutFront(end, marker, from, to, changes)
		default:
			if from == 0 {
				from = e.Revision
			}
			to = e.Revision
			changes++
		}
	}
	if changes == 0 {
		return 0
	}
	return b.cutFront(end, marker, from, to, changes)
}

// cutFront puts a marker of from..to in place of the slots below end, but for
// those of a batch that was begun, which go in front of it. A marker that was
// made earlier nobody has seen yet, so it may grow.
func (b *buffer) cutFront(end uint32, marker *Event, from, to uint64, changes uint32) uint32 {
	if marker == nil {
		marker = &Event{Op: Lagged}
	}
	marker.PrevRevision, marker.Revision = from, to
	*b.slot(end - 1) = marker
	skip := end - 1 - b.begun
	for i := b.begun; i > 0; i-- {
		*b.slot(i - 1 + skip) = *b.slot(i - 1)
	}
	for i := range skip {
		*b.slot(i) = nil
	}
	b.head = b.index(skip)
	b.n -= skip
	b.events -= changes
	return changes
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
	if b.n > 0 {
		if last := *b.slot(b.n - 1); last.Op == Lagged {
			last.Revision = b.gapTo
			b.gapFrom, b.gapTo = 0, 0
			return
		}
	}
	b.append(b.takeGap())
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
	if b.conflate != nil {
		b.skipHoles()
	}
	if b.n == 0 {
		if b.gapTo != 0 {
			return b.takeGap()
		}
		return nil
	}
	e := b.pop()
	if e.Op == Lagged {
		b.joinGaps(e)
	}
	b.shrink()
	return e
}

// pop removes the first slot and returns what was there.
func (b *buffer) pop() *Event {
	slot := b.slot(0)
	e := *slot
	*slot = nil
	b.n--
	b.head = b.index(1)
	if e.counts() {
		b.events--
	}
	switch {
	case b.conflate != nil:
		b.conflate.taken(e)
	case b.begun > 0:
		b.begun--
	case e.inBatch():
		for b.begun < b.n && (*b.slot(b.begun)).sameBatch(e) {
			b.begun++
		}
	}
	return e
}

// joinGaps makes marker, which was taken, speak for those that follow it with no
// change in between.
func (b *buffer) joinGaps(marker *Event) {
	for {
		if b.conflate != nil {
			b.skipHoles()
		}
		if b.n == 0 || (*b.slot(0)).Op != Lagged {
			break
		}
		marker.Revision = b.pop().Revision
	}
	if b.n == 0 && b.gapTo != 0 {
		marker.Revision = b.takeGap().Revision
	}
}

// ready reports whether take would return something.
func (b *buffer) ready() bool { return b.n > 0 || b.gapTo != 0 }

// clear forgets everything.
func (b *buffer) clear() { *b = buffer{limit: b.limit, policy: b.policy} }

func (b *buffer) slot(i uint32) **Event { return &b.ring[b.index(i)] }

func (b *buffer) index(i uint32) uint32 {
	if i += b.head; i >= uint32(len(b.ring)) {
		i -= uint32(len(b.ring))
	}
	return i
}

// shrink gives the slots back if nothing is held.
func (b *buffer) shrink() {
	if b.n == 0 {
		b.ring, b.head = b.inline[:], 0
	}
}

func (b *buffer) append(e *Event) {
	if b.n == uint32(len(b.ring)) {
		b.grow()
	}
	b.n++
	*b.slot(b.n - 1) = e
	if e.counts() {
		b.events++
	}
}

// grow makes room for one more: inline first, then at least four, then twice
// as many.
func (b *buffer) grow() {
	if b.n == 0 {
		b.ring = b.inline[:]
		return
	}
	bigger := make([]*Event, max(4, 2*len(b.ring)))
	for i := range b.n {
		bigger[i] = *b.slot(i)
	}
	b.inline[0] = nil
	b.ring, b.head = bigger, 0
}
