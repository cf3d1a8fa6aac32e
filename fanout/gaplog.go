package fanout

// gapLog is what the dispatcher lost for everyone, until every watcher has
// heard of it. Each loss is an epoch; a watcher carries the newest one it knows.
// Flagging is therefore one comparison before a delivery, and a walk over the
// silent watchers that need not hold anything up.
//
// It does not grow without end: a walk comes round after as many reads of the
// ring as there are slices of watchers, and forgets what it began with. That is
// less than the watchers take themselves.
//
// Only the dispatcher's goroutine uses it.
type gapLog struct {
	epoch uint64 // of the newest gap
	gaps  []gap  // oldest first, of consecutive epochs up to that one
}

// gap is a range of revisions, both included.
type gap struct{ from, to uint64 }

// add records that from..to was lost and opens the next epoch.
func (l *gapLog) add(from, to uint64) {
	l.epoch++
	l.gaps = append(l.gaps, gap{from: from, to: to})
}

// since returns the range that covers every gap after epoch, as far as it lies
// above start; 0, 0 if there is none. Between these gaps the watcher saw
// nothing: what matched it there would have told it of the earlier ones.
func (l *gapLog) since(epoch, start uint64) (from, to uint64) {
	for _, g := range l.gaps[l.through(epoch):] {
		if g.to > start {
			return max(g.from, start+1), l.gaps[len(l.gaps)-1].to
		}
	}
	return 0, 0
}

// forget drops the gaps up to epoch, of which every watcher has heard.
func (l *gapLog) forget(epoch uint64) {
	l.gaps = append(l.gaps[:0], l.gaps[l.through(epoch):]...)
}

// through returns how many of the gaps have an epoch up to the given one; it
// may lie before all of them, in a watcher that has not begun.
func (l *gapLog) through(epoch uint64) int {
	return max(0, len(l.gaps)-int(l.epoch-epoch))
}
