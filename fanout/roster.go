package fanout

import (
	"slices"
	"sync"
)

// roster lists watchers, so that the dispatcher can walk them in slices
// while others come and go. A watcher knows its own slot; removal moves the
// last one there. A walk goes from the end to the start: what is moved comes
// from the part that was walked already, so nobody is missed (some may be met
// twice), and who joins behind the walk knows the newest epoch anyway.
type roster struct {
	slot func(*watcher) *int32 // where a watcher keeps its slot

	mu   sync.Mutex
	list []*watcher
}

func (r *roster) add(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.slot(w) = int32(len(r.list))
	r.list = append(r.list, w)
}

func (r *roster) remove(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.list) - 1
	moved := r.list[last]
	r.list[*r.slot(w)] = moved
	*r.slot(moved) = *r.slot(w)
	r.list[last] = nil
	r.list = r.list[:last]
	if cap(r.list) > 1024 && len(r.list) < cap(r.list)/4 {
		r.list = append(make([]*watcher, 0, cap(r.list)/2), r.list...)
	}
}

// slice appends to buf the watchers of up to cap(buf) slots below end and
// returns them with the slot to go on from; 0 when the walk is over. A first
// call passes a negative end.
func (r *roster) slice(end int, buf []*watcher) ([]*watcher, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if end < 0 || end > len(r.list) {
		end = len(r.list)
	}
	start := max(0, end-cap(buf))
	return append(buf, r.list[start:end]...), start
}

// all returns a copy of the list.
func (r *roster) all() []*watcher {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}
