package fanout

// inboxes collect what concerns each watcher of a pattern, over several events,
// so that it is locked once for all of them and gets its batches whole. Only the
// dispatcher's goroutine uses them, and they are empty between its reads.
type inboxes struct {
	watchers []*watcher // those with something in their inbox
	events   int        // in all of them
}

const (
	maxInboxes = 8192 // events collected, unless a batch matches more
	keepInbox  = 8    // slots that a watcher's inbox keeps for the next time
)

func (x *inboxes) add(w *watcher, e *Event) {
	in := &w.extra.inbox
	if len(*in) == 0 {
		x.watchers = append(x.watchers, w)
	}
	*in = append(*in, e)
	x.events++
}

// empty offers each watcher what was collected for it.
func (x *inboxes) empty(offer func(*watcher, []*Event)) {
	x.emptyIf(func(*watcher) bool { return true }, offer)
}

// emptyIf does that for some of them.
func (x *inboxes) emptyIf(some func(*watcher) bool, offer func(*watcher, []*Event)) {
	kept := x.watchers[:0]
	for _, w := range x.watchers {
		if !some(w) {
			kept = append(kept, w)
			continue
		}
		in := &w.extra.inbox
		x.events -= len(*in)
		offer(w, *in)
		if cap(*in) > keepInbox {
			*in = nil
			continue
		}
		clear(*in)
		*in = (*in)[:0]
	}
	clear(x.watchers[len(kept):])
	x.watchers = kept
}
