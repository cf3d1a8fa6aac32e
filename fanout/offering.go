package fanout

import "fmt"

// losses are what an offer cost the watcher.
type losses struct {
	dropped uint64
	cancel  error // the policy ends the watcher with it
}

// offer delivers events, whole revisions of changes in order, under one hold of
// the lock. Only the dispatcher calls it, never with a lock held.
func (w *watcher) offer(events []*Event, gaps *gapLog) (l losses) {
	w.mu.Lock()
	for len(events) > 0 && events[0].Revision <= w.above {
		events = events[1:]
	}
	if w.flags.have(ended) || len(events) == 0 {
		w.mu.Unlock()
		return losses{}
	}
	l.cancel = w.hearOf(gaps)
	if w.extra != nil {
		w.extra.progress = nil
	}
	w.buf.reserve(len(events))
	for len(events) > 0 && l.cancel == nil {
		size := 1
		if e := events[0]; e.inBatch() {
			for size < len(events) && events[size].sameBatch(e) {
				size++
			}
		}
		group := events[:size]
		events = events[size:]
		if w.buf.ops != 0 {
			if group = w.buf.wanted(group); len(group) == 0 {
				continue
			}
		}
		dropped, conflated, cancel := w.buf.put(group)
		if cancel {
			l.cancel = laggedFrom(group[0].Revision)
			break
		}
		w.matched += uint64(len(group))
		if conflated > 0 {
			w.extra.conflated += conflated
		}
		w.dropped += dropped
		l.dropped += dropped
	}
	wake := w.waker()
	w.mu.Unlock()
	signal(wake)
	return l
}

// flag tells the watcher of the dispatcher's gaps that it has not heard of. It
// returns why the watcher must end, if its policy is to.
func (w *watcher) flag(gaps *gapLog) (cancel error) {
	w.mu.Lock()
	if !w.flags.have(ended) {
		cancel = w.hearOf(gaps)
	}
	wake := w.waker()
	w.mu.Unlock()
	signal(wake)
	return cancel
}

func (w *watcher) hearOf(gaps *gapLog) (cancel error) {
	if w.epoch == gaps.epoch {
		return nil
	}
	from, to := gaps.since(w.epoch, w.above)
	w.epoch = gaps.epoch
	if to == 0 {
		return nil
	}
	if w.extra != nil {
		w.extra.progress = nil
	}
	if w.buf.policy == Cancel {
		return laggedFrom(from)
	}
	w.buf.lose(from, to)
	return nil
}

// laggedFrom is why a watcher with the policy Cancel ends.
func laggedFrom(from uint64) error {
	return fmt.Errorf("%w: it lost revision %d and what followed; read again and watch anew", ErrLagged, from)
}
