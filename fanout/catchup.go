package fanout

import "sync"

// Snapshot is a state at one revision, for watchers that begin with it.
type Snapshot struct {
	// Revision is where the state stands: it has every change up to it, and
	// none above.
	Revision uint64
	// Next returns the entries one by one, each as the [Put] that made it, then
	// nil. It is called from one goroutine at a time, some time later, and not
	// after Close.
	Next func() *Event
	// Close releases the state; nil if there is nothing to release. It is
	// called once, also if not all entries were taken.
	Close func()
}

// catchUp brings a watcher from a snapshot, or from a revision in the ring's
// history, to the present. It happens in the consumer's own goroutine: there is
// no goroutine for it, and nothing is buffered but one read of the ring.
//
// # How it goes live
//
// The watcher is in the registry from the start, but while it catches up the
// dispatcher passes it by. A consumer that finds itself at the head of the ring
// looks once more with the watcher's lock held, and if it still is, the watcher
// is live from that position on. Nothing is missed: what is published later comes
// to the dispatcher later, which must take the lock, and so finds the watcher
// live. Nothing is received twice: the dispatcher may be behind, but the watcher
// takes nothing at or below the position that it noted. A gap of the dispatcher
// below that position does not concern it, and one that it has heard of by then
// lies below, because the epoch is read before the head.
//
// A consumer that does not keep up, or does not come, falls off the ring like
// any reader, and gets the marker with the exact range.
type catchUp struct {
	mu       sync.Mutex // consumers take turns; never held by the dispatcher
	snapshot *Snapshot  // nil once it is through
	filter   Filter
	cursor   *Cursor
	read     []*Event // of the ring, not looked at yet
	buf      []*Event
	closed   bool // it is over: nothing more is to be read
}

const catchUpBatch = 64 // events read of the ring at a time

// next returns the next event for w; nil if w is live, has ended, or must wait
// for the writer (then its wake channel gets a signal). It may return why w must
// end, which is the caller's to do.
func (c *catchUp) next(w *watcher) (e *Event, cancel error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed {
		if e = c.step(w); e == nil {
			return nil, nil
		}
		wanted, cancel := w.caught(c, e)
		if wanted || cancel != nil {
			return e, cancel
		}
	}
	return nil, nil
}

// step returns the next event that there is, wanted or not.
func (c *catchUp) step(w *watcher) *Event {
	if s := c.snapshot; s != nil {
		if e := s.Next(); e != nil {
			return e
		}
		c.endSnapshot()
		return &Event{Op: Progress, Revision: s.Revision}
	}
	for len(c.read) == 0 {
		clear(c.buf)
		c.buf = c.cursor.Poll(c.buf[:0])
		c.read = c.buf
		if len(c.read) > 0 {
			break
		}
		if w.goLive(c) {
			c.cursor.Close() // without the watcher's lock, for which the dispatcher may wait
			return nil
		}
		if c.cursor.park() {
			return nil
		}
	}
	e := c.read[0]
	c.read = c.read[1:]
	return e
}

func (c *catchUp) endSnapshot() {
	if s := c.snapshot; s != nil {
		c.snapshot = nil
		if s.Close != nil {
			s.Close()
		}
	}
}

// close releases what catching up holds. It waits for a consumer that is at it.
func (c *catchUp) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.endSnapshot()
	c.cursor.unpark(false)
	c.cursor.Close()
	c.read, c.buf = nil, nil
}

// caught counts an event that was read while catching up, and says whether it is
// for the consumer, or why the watcher must end instead.
func (w *watcher) caught(c *catchUp, e *Event) (wanted bool, cancel error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.extra.catchUp != c {
		c.closed = true // stopped meanwhile, and who did waits to release the rest
		return false, nil
	}
	if e.Op == Lagged && w.buf.policy == Cancel {
		return false, laggedFrom(e.PrevRevision)
	}
	wanted = e.Control() || w.buf.ops.has(e.Op) && c.filter.Match(e.Key)
	if wanted && e.counts() {
		w.matched++
		w.delivered++
	}
	return wanted, nil
}

// goLive ends catching up if there is nothing more to read. Below the revision
// where the dispatcher begins it does not: what is still to come up to there,
// the dispatcher leaves out.
func (w *watcher) goLive(c *catchUp) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.extra.catchUp != c {
		return true // stopped meanwhile
	}
	epoch := w.registry.epoch.Load()
	if !c.cursor.atHead() || c.cursor.Last() < w.registry.feed.Load().after {
		return false
	}
	w.epoch = epoch
	w.above = c.cursor.Last()
	w.extra.catchUp = nil
	c.closed = true
	c.cursor.unpark(false)
	return true
}
