package fanout

// Watchers mostly watch few of the keys that change. To wake a parked goroutine costs
// the writer microseconds, as much as several puts; so the writer looks first whether
// what it has just published is for anyone, and otherwise leaves the dispatcher
// parked. When that wakes up next it passes over what it was spared.
//
// # Why nothing is overlooked
//
// The writer publishes, and then looks in the registry. Whoever registers is in the
// registry, and then reads off the revision above which the watch begins. So either
// the writer finds the watcher, or the watch begins above what was published.
//
// A dispatcher that is parked has delivered all it could read when it announced that;
// what came in between it sees by a last look before it blocks. The writer spares it
// only if everything before this flush was delivered or passed over. So all up to
// passed is delivered or for nobody, wherever the dispatcher stands when it reads
// that, parked or not.

// maxSpareCheck is how many events of a flush the writer looks at; more wake the
// dispatcher.
const maxSpareCheck = 256

// spare reports whether the dispatcher, which is parked, can be left so although
// something was published: it is for nobody. Only the producer calls it, in a Flush.
func (f *feed) spare() bool {
	r, registry := f.ring, f.dispatcher.registry
	switch {
	case registry.Len() == 0: // it is to wake up and rest, which costs the writer nothing
		return false
	case r.next-r.flushed > maxSpareCheck:
		return false
	case r.first > r.flushed: // some of it is gone already
		return false
	case max(f.dispatcher.delivered.Load(), f.passed.Load()) < r.settled:
		return false
	case registry.patterns.any() || registry.patterns.everything.Load() != nil:
		return false
	}
	for pos := r.flushed; pos < r.next; {
		from := pos & r.within
		to := min(r.within+1, from+r.next-pos)
		for _, e := range r.holdings[r.index(pos)].slots[from:to] {
			if e.Control() || registry.keys.has(e.Key) {
				return false
			}
		}
		pos += to - from
	}
	f.passed.Store(r.last)
	return true
}
