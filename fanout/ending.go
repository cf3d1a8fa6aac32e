package fanout

// why returns the error the watcher ended with; nil if it is live.
func (w *watcher) why() error {
	switch {
	case !w.flags.have(ended):
		return nil
	case w.extra != nil && w.extra.err != nil:
		return w.extra.err
	}
	return ErrClosed
}

// end makes the watcher end with err, once. With drain, what is buffered or still
// to be caught up with may be taken first, until it is ended again without: its
// context still does that, or the goroutine of Chan might hold an event for ever.
func (w *watcher) end(err error, drain bool) {
	if behind := w.finish(err, drain); behind != nil {
		behind.close()
	}
}

// finish is end, but for what the owner has a hand in: the caller closes what it
// returns.
func (w *watcher) finish(err error, drain bool) (behind *catchUp) {
	w.mu.Lock()
	if !drain {
		w.buf.clear()
		behind = w.discard()
	}
	first := !w.flags.have(ended)
	if first {
		w.flags.put(ended, true)
		if err != ErrClosed && w.more().err == nil { // see handBack
			w.extra.err = err
		}
	}
	wake, leaves := w.waker(), w.flags.have(registered) && first
	w.mu.Unlock()
	if !drain {
		w.registry.contexts.remove(w)
	}
	if leaves {
		w.registry.remove(w)
	}
	signal(wake)
	return behind
}

// discard drops what the extra part holds, and returns what is to be closed: nothing
// if a consumer is at it, who does it then.
func (w *watcher) discard() (behind *catchUp) {
	x := w.extra
	if x == nil {
		return nil
	}
	if !w.flags.have(reading) {
		behind = x.catchUp
	}
	x.catchUp, x.progress = nil, nil
	if a := x.adapter; a != nil && !a.over {
		a.over = true
		close(a.cut)
	}
	return behind
}
