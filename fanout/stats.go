package fanout

import "sync/atomic"

// Stats counts since the start. The numbers are read one by one, so under load
// they may be a few events apart.
type Stats struct {
	Watchers int    `json:"watchers"` // registered now
	Events   uint64 `json:"events"`   // read from the ring, control events included
	Matched  uint64 `json:"matched"`  // event and watcher pairs
	Dropped  uint64 `json:"dropped"`  // of these, lost to a full buffer
	Gaps     uint64 `json:"gaps"`     // ranges the dispatcher lost for everyone
	Lost     uint64 `json:"lost"`     // an upper bound of the events in these gaps: revisions
}

// counters are written by the dispatcher only, read by anyone.
type counters struct {
	events, matched, dropped, gaps, lost atomic.Uint64
}

// Stats returns the current counts. Any goroutine may call it.
func (r *Registry) Stats() Stats {
	return Stats{
		Watchers: r.Len(),
		Events:   r.stats.events.Load(),
		Matched:  r.stats.matched.Load(),
		Dropped:  r.stats.dropped.Load(),
		Gaps:     r.stats.gaps.Load(),
		Lost:     r.stats.lost.Load(),
	}
}
