package fanout

import (
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

// behind returns what brings the watcher to the present; nil if it is there.
func (w *watcher) behind() *catchUp {
	if w.extra == nil {
		return nil
	}
	return w.extra.catchUp
}
