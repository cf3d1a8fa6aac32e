package fsm

import "time"

// Time returns the time of the cluster as far as commands told it: the highest of
// their stamps. Any goroutine may call it. See [Stamp].
func (f *FSM) Time() time.Duration {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.store.time
}

// NextExpiry returns when, by the cluster's time, the next key expires, 0 if none
// does, and a channel that is closed when that has become another. Any goroutine may
// call it; it is for the leader, who then proposes CommandExpire.
func (f *FSM) NextExpiry() (at time.Duration, changed <-chan struct{}) {
	changed = f.expires.next() // before the look: see bell
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.store.deadlines.first(), changed
}
