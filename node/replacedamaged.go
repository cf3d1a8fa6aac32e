package node

import (
	"log/slog"
	"time"
)

const (
	replacePause  = time.Second      // between two attempts to replace a snapshot that is damaged
	replacePeriod = 10 * time.Second // between two that were replaced, on a disk that damages them all
)

// replacing is how far the replacement of damaged snapshots is.
type replacing struct {
	again <-chan time.Time // when to look again, nil for when the next one is found
	id    string           // of the one that was told of last
	last  time.Time        // when one was replaced
}

// replaceDamaged has a snapshot take the place of the newest one if that is damaged: a node
// that needs it is sent nothing else, and the next start might have none. It is not
// [compaction.isDue] that matters, for the log has grown by nothing.
func (n *Node) replaceDamaged(r *replacing) {
	r.again = nil
	id, index, damage := n.consensus.damage()
	if damage == nil || n.over() != nil {
		return
	}
	if id != r.id {
		r.id = id
		n.log.Error("the newest snapshot is damaged, and a new one is taken; look after the disk", "error", damage)
	}
	if wait := replacePeriod - time.Since(r.last); wait > 0 && !r.last.IsZero() {
		r.again = time.After(wait)
		return
	}
	if n.consensus.raft.AppliedIndex() < index { // it has just started, and one of less would not count
		r.again = time.After(replacePause)
		return
	}
	err := n.consensus.compact(n.compaction.trailing())
	if still, _, _ := n.consensus.damage(); still != id {
		r.last = time.Now()
		return
	}
	if err != nil && !n.closing() {
		n.repeats.log(n.log, slog.LevelWarn, "damaged", "no snapshot takes the place of the damaged one yet; it is tried again", "error", err)
	}
	r.again = time.After(replacePause)
}

// damage returns the newest snapshot, and what is wrong with it, if it is known to be damaged.
func (n *consensus) damage() (id string, index uint64, err error) {
	list, err := n.snapshots.List()
	if err != nil || len(list) == 0 {
		return "", 0, nil
	}
	return list[0].ID, list[0].Index, n.known.damage(list[0].ID)
}
