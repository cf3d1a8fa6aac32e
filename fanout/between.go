package fanout

// betweenBatch is how many events Between reads at a time.
const betweenBatch = 128

// Between hands visit the events with revisions above after and up to through, in
// order, for who wants to know what changed and not to follow. It returns false if it
// cannot have been all of them: some are not held any more, or a [Reset] is among
// them. What visit was handed by then does not count. Without visit it only tells that.
//
// Events up to through must have been published before the call; then it blocks for
// nothing. Any goroutine may call it.
func (r *Ring) Between(after, through uint64, visit func(*Event)) (all bool) {
	target := r.head.Load()
	if target == 0 {
		return true // nothing was ever published
	}
	c := r.cursor(after, nil)
	buf := make([]*Event, 0, betweenBatch)
	for c.pos < target || c.lost {
		events := c.Poll(buf)
		if len(events) == 0 && (c.pos < target || c.lost) {
			return false // everything is gone, and what comes in its place is staged
		}
		for _, e := range events {
			switch first := e.first(); {
			case first > through:
				return true
			case e.Control():
				return false
			}
			if visit != nil {
				visit(e)
			}
		}
		clear(events)
	}
	return true
}

// first returns the lowest revision that the event speaks of.
func (e *Event) first() uint64 {
	if e.Op == Lagged {
		return e.PrevRevision
	}
	return e.Revision
}
