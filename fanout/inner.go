package fanout

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// watcher is what the registry knows of a Watcher.
type watcher struct {
	registry *Registry
	filter   string // key, or pattern if pattern is set
	done     <-chan struct{}

	// Neighbours among the watchers of the same key, changed under the key's
	// shard lock; the dispatcher follows next without it.
	next  atomic.Pointer[watcher]
	prev  *watcher
	extra *extra // what few watchers need; nil in the others

	slot    int32 // index in the roster, guarded by the roster's lock
	pattern bool

	mu         sync.Mutex
	buf        buffer
	epoch      uint64        // newest gap of the dispatcher that it knows
	above      uint64        // the dispatcher's events up to it are not for the watcher
	matched    uint64        // events that were for it
	delivered  uint64        // of these, taken by the consumer
	dropped    uint64        // of these, lost to a full buffer
	wake       chan struct{} // made when a consumer first waits; one slot, never closed
	err        error         // why it ended; nil while it is live
	waiting    int32         // consumers that wait in Next
	armed      bool          // a consumer that uses Ready has found nothing
	registered bool          // whoever ends it takes it out of the registry
	ops        opSet
}

// extra is what watchers of patterns, with Conflate, or that catch up have more
// than others: there may be a million of the others.
type extra struct {
	inbox []*Event // of a pattern; the dispatcher's: see inboxes

	// Guarded by the watcher's mutex.
	catchUp   *catchUp // until it is live; what it reads it reads itself
	late      bool     // it began in the past or with a state
	start     uint64   // where that was
	conflated uint64   // events that were superseded before they were taken
}

// behind returns what brings the watcher to the present; nil if it is there.
func (w *watcher) behind() *catchUp {
	if w.extra == nil {
		return nil
	}
	return w.extra.catchUp
}

// opSet says which operations a watcher receives; the zero value means all.
type opSet uint8

func (s opSet) has(op Op) bool { return s == 0 || op > Expire || s&(1<<op) != 0 }

// take removes the next event. If there is none it returns why the watcher
// ended, or, if it is to wait, the channel to wait on. It is told whether the
// caller has waited, and so is no longer.
func (w *watcher) take(wait, waited bool) (e *Event, wake chan struct{}, err error) {
	w.mu.Lock()
	if waited {
		w.waiting--
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
	} else if err = w.err; err == nil {
		if wait {
			w.makeWake()
			w.waiting++
		} else {
			w.armed = true
		}
		wake = w.wake
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
	return e
}

// leave takes back that the caller waits.
func (w *watcher) leave() {
	w.mu.Lock()
	w.waiting--
	next := w.waker() // it may have taken a signal that was meant for another
	w.mu.Unlock()
	signal(next)
}

func (w *watcher) ready() <-chan struct{} {
	w.mu.Lock()
	w.makeWake()
	w.armed = true
	wake, next := w.wake, w.waker()
	w.mu.Unlock()
	signal(next)
	return wake
}

func (w *watcher) makeWake() {
	if w.wake == nil {
		w.wake = make(chan struct{}, 1)
	}
}

// waker returns the channel to signal on, once mu is released: nil if there is
// nothing to take, or nobody who waits for it.
func (w *watcher) waker() chan struct{} {
	if w.waiting == 0 && !w.armed || !w.buf.ready() && w.err == nil && w.behind() == nil {
		return nil
	}
	w.armed = false
	return w.wake
}

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
	if w.err != nil || len(events) == 0 {
		w.mu.Unlock()
		return losses{}
	}
	l.cancel = w.hearOf(gaps)
	for len(events) > 0 && l.cancel == nil {
		size := 1
		if e := events[0]; e.inBatch() {
			for size < len(events) && events[size].sameBatch(e) {
				size++
			}
		}
		group := events[:size]
		events = events[size:]
		if w.ops != 0 {
			if group = w.wanted(group); len(group) == 0 {
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

// wanted returns the events of the operations that the watcher receives.
func (w *watcher) wanted(group []*Event) []*Event {
	all := true
	for _, e := range group {
		all = all && w.ops.has(e.Op)
	}
	if all {
		return group
	}
	var some []*Event
	for _, e := range group {
		if w.ops.has(e.Op) {
			some = append(some, e)
		}
	}
	return some
}

// flag tells the watcher of the dispatcher's gaps that it has not heard of. It
// returns why the watcher must end, if its policy is to.
func (w *watcher) flag(gaps *gapLog) (cancel error) {
	w.mu.Lock()
	if w.err == nil {
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
// to be caught up with may be taken first, until it is ended again without.
func (w *watcher) end(err error, drain bool) {
	w.mu.Lock()
	var behind *catchUp
	if !drain {
		w.buf.clear()
		if behind = w.behind(); behind != nil {
			w.extra.catchUp = nil
		}
	}
	first := w.err == nil
	if first {
		w.err = err
	}
	wake, registered := w.waker(), w.registered && first
	w.mu.Unlock()
	if registered {
		w.registry.remove(w)
	}
	signal(wake)
	if behind != nil {
		behind.close()
	}
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
