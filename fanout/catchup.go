package fanout

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
//
// # Who may touch it
//
// One consumer at a time, for whom the watcher's flag reading is set. Others who
// come meanwhile find nothing and wait, or are refused if a function of the state
// itself called them. No lock is held while the owner's state is read, which takes
// as long as the owner likes, and may call the watcher. So who ends the watcher does
// not wait either: it takes the catchUp away, and whoever is at it closes it when
// done; or the one who takes it away, if nobody is.
//
// # Why nobody is forgotten
//
// Who finds an event signals the next that waits; so does who ends the watcher, and
// once it is live the dispatcher signals. What is left is who neither finds anything
// nor goes live, below the revision where the dispatcher begins, or where all that
// was published is gone. It parks the cursor: the next Flush takes that back, and
// then signals once. But it is still at it, and if the signal comes to another
// consumer by then, that one finds nothing and waits again, with no signal left.
//
// So who was at it looks at the cursor again when it no longer is, under the lock
// under which the others looked. If the cursor is parked, the signal is still to
// come, and comes to a consumer that may read, or finds another at it, who will look
// like this. If it is not, the signal is out, for whomever, and it reads again. If
// somebody else is at it by then, that is left to him: he finds an event and signals,
// or looks himself.
type catchUp struct {
	snapshot *Snapshot // nil once it is through
	filter   Filter
	cursor   *Cursor
	read     []*Event // of the ring, not looked at yet
	buf      []*Event
}

const catchUpBatch = 64 // events read of the ring at a time

// next returns the next event for w; nil if w is live, has ended, or must wait
// for the writer (then its wake channel gets a signal). Or it returns why w must
// end, which is the caller's to do.
func (c *catchUp) next(w *watcher) (*Event, error) {
	for {
		e, err := c.step(w)
		if e == nil || err != nil {
			return nil, err
		}
		if e.Op == Lagged && e.PrevRevision <= w.extra.start {
			cut := *e // others read it, too
			cut.PrevRevision = w.extra.start + 1
			e = &cut
		}
		switch verdict, err := w.caught(c, e); {
		case err != nil || verdict == over:
			return nil, err
		case verdict == wanted:
			return e, nil
		}
	}
}

// step returns the next event that there is, wanted or not.
func (c *catchUp) step(w *watcher) (*Event, error) {
	if s := c.snapshot; s != nil {
		if e, err := s.read(); e != nil || err != nil {
			return e, err
		}
		c.snapshot = nil
		return &Event{Op: Progress, Revision: s.Revision}, s.end()
	}
	for len(c.read) == 0 {
		clear(c.buf)
		c.buf = c.cursor.Poll(c.buf[:0])
		c.read = c.buf
		if len(c.read) > 0 {
			break
		}
		if w.goLive(c) || c.cursor.park() {
			return nil, nil
		}
	}
	e := c.read[0]
	c.read = c.read[1:]
	return e, nil
}

// close releases what catching up holds. It is called once, without the watcher's
// lock, for which the dispatcher may wait.
func (c *catchUp) close() {
	if s := c.snapshot; s != nil {
		c.snapshot = nil
		s.end() // the watcher has ended, and has its reason
	}
	c.cursor.unpark(false)
	c.cursor.Close()
	c.read, c.buf = nil, nil
}

// verdict is what becomes of an event that was read while catching up.
type verdict uint8

const (
	unwanted verdict = iota
	wanted
	over // the watcher has ended meanwhile
)

// caught counts an event that was read while catching up, and says whether it is
// for the consumer, or why the watcher must end instead.
func (w *watcher) caught(c *catchUp, e *Event) (verdict, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.extra.catchUp != c:
		return over, nil
	case e.Op == Lagged && w.buf.policy == Cancel:
		return over, laggedFrom(e.PrevRevision)
	case !e.Control() && !(w.buf.ops.has(e.Op) && c.filter.Match(e.Key)):
		return unwanted, nil
	}
	if e.counts() {
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
	return true
}
