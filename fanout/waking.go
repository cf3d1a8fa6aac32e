package fanout

// waitable returns the channel to wait on, making it.
func (w *watcher) waitable() chan struct{} {
	x := w.more()
	if x.wake == nil {
		x.wake = make(chan struct{}, 1)
	}
	return x.wake
}

// waker returns the channel to signal on, once mu is released: nil if there is
// nothing to take, or nobody who waits for it.
func (w *watcher) waker() (wake chan struct{}) {
	x := w.extra
	if x == nil {
		return nil
	}
	if x.awaited() && (w.buf.ready() || w.flags.have(ended) || x.catchUp != nil || x.progress != nil) {
		wake = x.wake
		x.armed = false
	}
	w.heed()
	return wake
}

// heed keeps the flag in step with what it stands for, with mu held.
func (w *watcher) heed() {
	if x := w.extra; x != nil {
		w.flags.put(awaited, x.awaited())
	}
}

// awaited reports whether a consumer waits for something to take.
func (x *extra) awaited() bool { return x.waiting > 0 || x.armed }

// signal wakes one waiting consumer; a nil channel has none.
func signal(wake chan struct{}) {
	if wake == nil {
		return
	}
	select {
	case wake <- struct{}{}:
	default:
	}
}
