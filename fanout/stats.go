package fanout

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// Stats counts since the start. Matched is the sum of Delivered, Conflated,
// Dropped, Pending and Discarded. The numbers are read one watcher after the
// other, so under load they may be a few events apart.
type Stats struct {
	Watchers  int    `json:"watchers"`  // registered now
	Events    uint64 `json:"events"`    // read from the ring, control events included; most of what nobody watches is not
	Matched   uint64 `json:"matched"`   // event and watcher pairs
	Delivered uint64 `json:"delivered"` // of these, taken by consumers
	Conflated uint64 `json:"conflated"` // of these, superseded by a newer change of the key before they were taken
	Dropped   uint64 `json:"dropped"`   // of these, lost to a full buffer
	Pending   uint64 `json:"pending"`   // of these, waiting in buffers
	Discarded uint64 `json:"discarded"` // of these, still waiting when their watcher ended
	Cancelled uint64 `json:"cancelled"` // watchers that ended because they lagged
	Gaps      uint64 `json:"gaps"`      // ranges the dispatcher lost for everyone
	Lost      uint64 `json:"lost"`      // an upper bound of the events in these gaps: revisions
}

// WatcherStats describe one watcher. Matched is the sum of Delivered, Conflated,
// Dropped and Pending.
type WatcherStats struct {
	Filter    string `json:"filter"`  // the key, or the pattern
	Pattern   bool   `json:"pattern"` // which of the two
	Policy    string `json:"policy"`
	Buffer    int    `json:"buffer"` // changes it can hold; 0 for no bound but its keys
	Matched   uint64 `json:"matched"`
	Delivered uint64 `json:"delivered"`
	Conflated uint64 `json:"conflated"`
	Dropped   uint64 `json:"dropped"`
	Pending   uint64 `json:"pending"`
}

// counters are kept beside the watchers' own books.
type counters struct {
	events, dropped, cancelled, gaps, lost atomic.Uint64 // by the dispatcher

	retired struct { // of watchers that ended
		matched, delivered, conflated, dropped, discarded atomic.Uint64
	}
}

// retire takes over the books of a watcher that ended. What is left in its
// buffer may still be taken; that changes nothing in the books any more.
func (c *counters) retire(w *watcher) {
	w.mu.Lock()
	s := w.stats()
	w.mu.Unlock()
	c.retired.matched.Add(s.Matched)
	c.retired.delivered.Add(s.Delivered)
	c.retired.conflated.Add(s.Conflated)
	c.retired.dropped.Add(s.Dropped)
	c.retired.discarded.Add(s.Matched - s.Delivered - s.Conflated - s.Dropped)
}

func (w *watcher) superseded() uint64 {
	if w.extra == nil {
		return 0
	}
	return w.extra.conflated
}

func (w *watcher) stats() WatcherStats {
	s := WatcherStats{
		Filter: w.filter, Pattern: w.flags.have(isPattern), Policy: w.buf.policy.String(), Buffer: int(w.buf.limit),
		Matched: w.matched, Delivered: w.delivered, Conflated: w.superseded(), Dropped: w.dropped,
		Pending: uint64(w.buf.pending()),
	}
	if w.buf.policy == Conflate {
		s.Buffer = 0
	}
	return s
}

// Stats returns the current counts. Any goroutine may call it. It looks at every
// watcher, some tens of nanoseconds each, and holds each only for that long.
func (r *Registry) Stats() Stats {
	past := &r.stats.retired
	s := Stats{
		Watchers:  r.Len(),
		Events:    r.stats.events.Load(),
		Matched:   past.matched.Load(),
		Delivered: past.delivered.Load(),
		Conflated: past.conflated.Load(),
		Dropped:   past.dropped.Load(),
		Discarded: past.discarded.Load(),
		Cancelled: r.stats.cancelled.Load(),
		Gaps:      r.stats.gaps.Load(),
		Lost:      r.stats.lost.Load(),
	}
	for _, w := range r.roster.all() {
		w.mu.Lock()
		if !w.flags.have(ended) {
			s.Matched += w.matched
			s.Delivered += w.delivered
			s.Conflated += w.superseded()
			s.Dropped += w.dropped
			s.Pending += uint64(w.buf.pending())
		}
		w.mu.Unlock()
	}
	return s
}

// Slowest returns the n watchers, or all if there are fewer, that have lost most
// and, of those that lost the same, have most waiting. Any goroutine may call it; it
// costs what [Registry.Stats] does, and a sort.
func (r *Registry) Slowest(n int) []WatcherStats {
	if n <= 0 {
		return nil
	}
	all := r.roster.all()
	slowest := make([]WatcherStats, 0, len(all))
	for _, w := range all {
		w.mu.Lock()
		if !w.flags.have(ended) {
			slowest = append(slowest, w.stats())
		}
		w.mu.Unlock()
	}
	slices.SortStableFunc(slowest, func(a, b WatcherStats) int {
		return cmp.Or(cmp.Compare(b.Dropped, a.Dropped), cmp.Compare(b.Pending, a.Pending))
	})
	return slices.Clip(slowest[:min(n, len(slowest))])
}
