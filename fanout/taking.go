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
	if c := w.behind(); c != nil && !w.flags.have(reading) {
		w.flags.put(reading, true)
		w.mu.Unlock()
		e = w.takeBehind(c)
		w.mu.Lock()
		if e != nil {
			next := w.waker()
			w.mu.Unlock()
			signal(next)
			return e, nil, nil
		}
	}
	if e = w.buf.take(); e != nil {
		if e.counts() {
			w.delivered++
		}
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
	}
	next := w.waker() // for the next call, whoever makes it
	w.mu.Unlock()
	signal(next)
	return e, nil, err
}

// takeBehind takes an event while the watcher catches up; nil if that is over or
// has to wait. The caller has set reading, which is over when it returns.
func (w *watcher) takeBehind(c *catchUp) (e *Event) {
	cancel := errGone // stays if a function of the snapshot ends the goroutine
	defer func() { w.handBack(c, cancel) }()
	e, cancel = c.next(w)
	return e
}

// handBack ends reading, and the watcher if it must end.
func (w *watcher) handBack(c *catchUp, cancel error) {
	if cancel != nil {
		if errors.Is(cancel, ErrLagged) {
			w.registry.stats.cancelled.Add(1)
		}
		w.end(cancel, false)
	}
	w.mu.Lock()
	if cancel != nil && w.extra.err == nil {
		w.extra.err = cancel // the dispatcher had ended first, and what was left to read is lost
	}
	if w.extra.catchUp != c { // live, or ended: whoever did that left the rest to be done here
		w.mu.Unlock()
		c.close()
		w.mu.Lock()
	}
	w.flags.put(reading, false)
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
