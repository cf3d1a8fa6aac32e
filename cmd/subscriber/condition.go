package main

import "github.com/watchcast/watchcast/nats"

// condition is how several watches stand, taken together.
type condition struct {
	watches int
	synced  map[int]bool
	stale   map[int]bool
}

func newCondition(watches int) *condition {
	return &condition{watches: watches, synced: make(map[int]bool), stale: make(map[int]bool)}
}

// take takes what a watch tells about itself, and reports whether that changes how all of
// them stand: synced with the last of them, stale with the first, fresh with the last.
func (c *condition) take(u update) (news bool) {
	switch u.Kind {
	case nats.Synced:
		c.synced[u.watch] = true
		return len(c.synced) == c.watches
	case nats.Stale:
		c.stale[u.watch] = true
		return len(c.stale) == 1
	case nats.Fresh:
		delete(c.stale, u.watch)
		return len(c.stale) == 0
	}
	return true
}
