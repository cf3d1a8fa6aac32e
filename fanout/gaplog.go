package fanout

// gapLog is what the dispatcher lost for everyone, until every watcher has
// heard of it. Each loss is an epoch; a watcher carries the newest one it knows.
// Flagging is therefore one comparison before a delivery, and a walk over the
// silent watchers that need not hold anything up.
//
// Only the dispatcher's goroutine uses it.
type gapLog struct {
	epoch uint64 // of the newest gap
	gaps  []gap  // oldest first; the last one has the newest epoch
}

type gap struct {
	epoch    uint64
	from, to uint64 // revisions, both included
}

// maxGaps bounds the log while watchers are still being told: beyond it the two
// oldest gaps become one that covers both.
const maxGaps = 64

// add records that from..to was lost and opens the next epoch.
func (l *gapLog) add(from, to uint64) {
	l.epoch++
	if len(l.gaps) == maxGaps {
		l.gaps[1].from = l.gaps[0].from
		l.gaps = append(l.gaps[:0], l.gaps[1:]...)
	}
	l.gaps = append(l.gaps, gap{epoch: l.epoch, from: from, to: to})
}

// since returns the range that covers every gap after epoch; 0, 0 if there is
// none. Between these gaps the watcher saw nothing: what matched it there would
// have told it of the earlier ones.
func (l *gapLog) since(epoch uint64) (from, to uint64) {
	for _, g := range l.gaps {
		if g.epoch > epoch {
			return g.from, l.gaps[len(l.gaps)-1].to
		}
	}
	return 0, 0
}

// forget drops the gaps up to epoch, of which every watcher has heard.
func (l *gapLog) forget(epoch uint64) {
	n := 0
	for n < len(l.gaps) && l.gaps[n].epoch <= epoch {
		n++
	}
	l.gaps = append(l.gaps[:0], l.gaps[n:]...)
}
