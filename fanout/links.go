package fanout

// Watchers of the same key, and those of >, form a list. It is changed under a lock,
// that of the key's shard or of the pattern index, and read without one: the
// dispatcher takes the first watcher and follows next.

// link puts w in front of a list and returns its first watcher.
func (w *watcher) link(first *watcher) *watcher {
	w.next.Store(first)
	if first != nil {
		first.prev = w
	}
	return w
}

// unlink takes w out of a list and returns its first watcher, nil for none. w.next
// stays: the dispatcher may stand on w just now, and finds its way on there.
func (w *watcher) unlink(first *watcher) *watcher {
	prev, next := w.prev, w.next.Load()
	w.prev = nil
	if next != nil {
		next.prev = prev
	}
	if prev == nil {
		return next
	}
	prev.next.Store(next)
	return first
}
