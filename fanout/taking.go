package fanout

import "errors"

// take removes the next event. If there is none it returns why the watcher
// ended, or, if it is to wait, the channel to wait on. It is told whether the
// caller has waited, and so is no longer.
func (w *watcher) take(wait, waited bool) (e *Event, wake chan struct{}, err error) {
	w.mu.Lock()
	if waited {
		w.extra.waiting--
		if w.extra.usesReady {
			w.extra.armed = true // the signal may have been for Ready
		}
	}
	if c := w.behind(); c != nil {
		e = w.takeBehind(c)
	}
	if e != nil {
		// it was counted when it was read
	} else if e = w.buf.take(); e != nil {
		if e.counts() {
			w.delivered++
		}
		w.armAtEnd()
	} else if w.extra != nil && w.extra.progress != nil {
		e, w.extra.progress = w.extra.progress, nil
	} else if err = w.why(); err == nil {
		if wait {
			wake = w.waitable()
			w.extra.waiting++
		} else if w.extra != nil && w.extra.usesReady {
			w.extra.armed = true
		}
		w.heed()
		w.mu.Unlock()
		return nil, wake, nil
	} else {
		w.armAtEnd()
	}
	next := w.waker() // for the next call, whoever makes it
	w.mu.Unlock()
	signal(next)
	return e, nil, err
}

// armAtEnd has the end signalled to everyone who uses Ready, and armed is one of them.
func (w *watcher) armAtEnd() {
	if w.flags.have(ended) && w.extra != nil && w.extra.usesReady {
		w.extra.armed = true
	}
}

// takeBehind takes an event while the watcher catches up, with mu held but for the
// time in which it reads. It returns nil if that is over, if the signal for what
// comes next is still to come, or if another consumer is at it: catchUp argues why
// nobody is forgotten.
func (w *watcher) takeBehind(c *catchUp) *Event {
	for !w.flags.have(reading) {
		w.flags.put(reading, true)
		w.flags.put(inState, c.snapshot != nil)
		w.mu.Unlock()
		e := w.readBehind(c)
		w.mu.Lock()
		if e != nil || w.behind() != c || c.cursor.parked.Load() {
			return e
		}
	}
	return nil
}

// readBehind reads an event of what the watcher catches up with; nil if there is
// none. The caller has set reading, which is over when it returns.
func (w *watcher) readBehind(c *catchUp) (e *Event) {
	cancel := errGone // stays if a function of the snapshot ends the goroutine
	defer func() { w.handBack(c, cancel) }()
	e, cancel = c.next(w)
	return e
}

// handBack ends reading, and the watcher if it must end.
func (w *watcher) handBack(c *catchUp, cancel error) {
	w.mu.Lock()
	if cancel != nil && w.extra.catchUp == c { // else it has ended before, and has its reason
		// The reason stands before the lock is given up, so who ends the watcher just
		// then does not change it. If the dispatcher had ended, what was left to read
		// is lost, which nobody was told yet.
		w.extra.err = cancel
		if errors.Is(cancel, ErrLagged) {
			w.registry.stats.cancelled.Add(1)
		}
		w.mu.Unlock()
		w.end(cancel, false)
		w.mu.Lock()
	}
	if w.extra.catchUp != c { // live, or ended: whoever did that left the rest to be done here
		w.mu.Unlock()
		c.close()
		w.mu.Lock()
	}
	w.flags.put(reading|inState, false)
	w.mu.Unlock()
}

// leave takes back that the caller waits.
func (w *watcher) leave() {
	w.mu.Lock()
	w.extra.waiting--
	next := w.waker() // for the others; one signal too many does no harm
	w.mu.Unlock()
	signal(next)
}

func (w *watcher) ready() <-chan struct{} {
	w.mu.Lock()
	wake := w.waitable()
	w.extra.usesReady, w.extra.armed = true, true
	next := w.waker()
	w.mu.Unlock()
	signal(next)
	return wake
}
