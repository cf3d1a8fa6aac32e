package fanout

// buffer is a watcher's bounded queue, oldest first. It decides what is lost
// when it is full and keeps account of it. The watcher's mutex guards it.
//
// It drops the newest (see overflow). The range of what was dropped is known
// exactly only once something is kept again or the consumer has caught up, so
// the open gap lives in fields of its own, not in a slot: the marker is made
// when the gap closes, and there is always room for it.
type buffer struct {
	ring   []*Event // grows on need up to limit; given back when drained
	inline [1]*Event
	head   int // index of the oldest event
	n      int // events the consumer may take
	staged int // events of a batch that is not complete yet, after those n
	limit  int // slots, markers included

	gapFrom, gapTo uint64 // open gap, behind everything held; 0 if none, and while a batch is staged
	lostBatch      uint64 // revision of the batch that was dropped last
}

// put appends e, or drops it and widens the gap. The events of a batch become
// visible together, at commit; if one does not fit, all of them go. It returns
// how many events were dropped.
func (b *buffer) put(e *Event) (dropped int) {
	if e.inBatch() && e.Revision == b.lostBatch {
		// An earlier event of the batch was lost. The gap may have been taken
		// since, with this revision in its range.
		return 1
	}
	need := 1
	if b.gapTo != 0 {
		need = 2 // the marker goes first
	}
	if b.n+b.staged+need > b.limit {
		return b.overflow(e)
	}
	if b.gapTo != 0 {
		b.append(b.closeGap())
	}
	b.append(e)
	if !e.inBatch() {
		b.commit()
	}
	return 0
}

// overflow drops e and, with it, what was staged of its batch.
func (b *buffer) overflow(e *Event) (dropped int) {
	dropped = 1
	from := e.Revision
	for ; b.staged > 0; b.staged-- {
		slot := &b.ring[b.index(b.n+b.staged-1)]
		if (*slot).Op == Lagged {
			from = (*slot).PrevRevision
		} else {
			dropped++
		}
		*slot = nil
	}
	b.shrink()
	b.lose(from, e.Revision)
	if e.inBatch() {
		b.lostBatch = e.Revision
	}
	return dropped
}

// lose widens the open gap through from..to, which lies above it, or opens one.
func (b *buffer) lose(from, to uint64) {
	if b.gapTo == 0 {
		b.gapFrom = from
	}
	b.gapTo = to
}

// closeGap makes the marker of the open gap.
func (b *buffer) closeGap() *Event {
	e := &Event{Op: Lagged, PrevRevision: b.gapFrom, Revision: b.gapTo}
	b.gapFrom, b.gapTo = 0, 0
	return e
}

// commit makes visible what was staged.
func (b *buffer) commit() {
	b.n += b.staged
	b.staged = 0
}

// take removes the oldest event; nil if there is none. With nothing held, an
// open gap ends here: the consumer has caught up with it.
func (b *buffer) take() *Event {
	if b.n == 0 {
		if b.gapTo != 0 {
			return b.closeGap()
		}
		return nil
	}
	e := b.ring[b.head]
	b.ring[b.head] = nil
	b.n--
	b.head = b.index(1)
	b.shrink()
	return e
}

// ready reports whether take would return something.
func (b *buffer) ready() bool { return b.n > 0 || b.gapTo != 0 }

// clear forgets everything.
func (b *buffer) clear() { *b = buffer{limit: b.limit} }

func (b *buffer) index(i int) int {
	if i += b.head; i >= len(b.ring) {
		i -= len(b.ring)
	}
	return i
}

// shrink gives the slots back if nothing is held.
func (b *buffer) shrink() {
	if b.n+b.staged == 0 {
		b.ring, b.head = b.inline[:], 0
	}
}

func (b *buffer) append(e *Event) {
	held := b.n + b.staged
	if held == len(b.ring) {
		b.grow()
	}
	b.ring[b.index(held)] = e
	b.staged++
}

// grow makes room for one more: inline first, then at least four, then twice
// as many.
func (b *buffer) grow() {
	held := b.n + b.staged
	if held == 0 {
		b.ring = b.inline[:]
		return
	}
	bigger := make([]*Event, min(max(4, 2*len(b.ring)), b.limit))
	for i := range held {
		bigger[i] = b.ring[b.index(i)]
	}
	b.inline[0] = nil
	b.ring, b.head = bigger, 0
}
