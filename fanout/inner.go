package fanout

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// watcher is what the registry knows of a Watcher. There may be a million, so a
// byte counts: on 64-bit machines it takes 144, as many as the allocator gives.
type watcher struct {
	registry *Registry
	filter   string // key, or pattern if the flag isPattern is set

	// Neighbours among the watchers of the same key, or of >: see link.
	next atomic.Pointer[watcher]
	prev *watcher

	slot  int32 // index in the roster, guarded by the roster's lock
	flags flags

	mu        sync.Mutex // guards the rest
	extra     *extra     // nil in most; once set it stays
	buf       buffer
	epoch     uint64 // newest gap of the dispatcher that it knows
	above     uint64 // the dispatcher's events up to it are not for the watcher
	matched   uint64 // events that were for it
	delivered uint64 // of these, taken by the consumer
	dropped   uint64 // of these, lost to a full buffer
}

// extra is the part of a watcher that few need: those that a consumer has waited
// for, and those that have a pattern, conflate, catch up, tell of progress or ended
// for a reason of their own.
type extra struct {
	inbox []*Event // of a pattern; the dispatcher's: see inboxes

	// Guarded by the watcher's mutex.
	wake      chan struct{} // one slot, never closed; made when a consumer first waits
	waiting   int32         // consumers that wait in Next
	usesReady bool          // Ready was called; those in Next take from the same channel
	armed     bool          // a consumer that uses Ready has found nothing
	late      bool          // it began in the past or with a state
	catchUp   *catchUp      // until it is live; what it reads it reads itself
	start     uint64        // where it began, if late
	conflated uint64        // events that were superseded before they were taken
	err       error         // why it ended, if not by ErrClosed
	adapter   *adapter      // once Chan was called
	progress  *Event        // how far the dispatcher is; taken when nothing else is left

	progressSlot int32 // index in the roster of those who asked, guarded by its lock
	wantProgress bool
}

// more returns the extra part, making it. Before the watcher is registered, or
// with mu held.
func (w *watcher) more() *extra {
	if w.extra == nil {
		w.extra = new(extra)
	}
	return w.extra
}

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

// behind returns what brings the watcher to the present; nil if it is there.
func (w *watcher) behind() *catchUp {
	if w.extra == nil {
		return nil
	}
	return w.extra.catchUp
}

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
	if w.behind() != nil {
		if e = w.takeBehind(); e != nil {
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
// has to wait. It is called with mu held and lets go of it meanwhile.
func (w *watcher) takeBehind() *Event {
	c := w.extra.catchUp
	w.mu.Unlock()
	e, cancel := c.next(w)
	if cancel != nil {
		e = nil
		w.registry.stats.cancelled.Add(1)
		w.end(cancel, false)
	}
	w.mu.Lock()
	if cancel != nil && w.extra.err == nil {
		w.extra.err = cancel // the dispatcher had ended first, and what was left to read is lost
	}
	return e
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

// end makes the watcher end with err, once. With drain, what is buffered or still
// to be caught up with may be taken first, until it is ended again without: its
// context still does that, or the goroutine of Chan might hold an event for ever.
func (w *watcher) end(err error, drain bool) {
	if behind := w.finish(err, drain); behind != nil {
		behind.close()
	}
}

// finish is end, but for what may have to wait for the consumer: the caller closes
// what it returns.
func (w *watcher) finish(err error, drain bool) (behind *catchUp) {
	w.mu.Lock()
	if !drain {
		w.buf.clear()
		behind = w.discard()
	}
	first := !w.flags.have(ended)
	if first {
		w.flags.put(ended, true)
		if err != ErrClosed {
			w.more().err = err
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

// discard drops what the extra part holds, and returns what is to be closed.
func (w *watcher) discard() (behind *catchUp) {
	x := w.extra
	if x == nil {
		return nil
	}
	behind, x.catchUp, x.progress = x.catchUp, nil, nil
	if a := x.adapter; a != nil && !a.over {
		a.over = true
		close(a.cut)
	}
	return behind
}

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
