package node

import (
	"sync/atomic"
	"time"
)

const (
	enqueueTimeout = 2 * time.Second // to hand something to Raft

	// freeWrites is how many writes may be under way, from being proposed to being answered,
	// before one is given a timeout for the first part of it. Raft's queue has room for twice
	// as many (maxAppendEntries), so they find room there, however long the log takes.
	freeWrites = maxAppendEntries / 2
)

// underWay counts the writes of an epoch between proposal and answer. A timeout costs a
// timer each, two objects and a tenth of all that a put allocates, to guard against a full
// queue; so while there are few, there is none.
type underWay struct{ writes atomic.Int64 }

// enter counts a write, and returns for how long it may wait for room in Raft's queue; 0
// if there is room.
func (u *underWay) enter() (timeout time.Duration) {
	if u.writes.Add(1) > freeWrites {
		return enqueueTimeout
	}
	return 0
}

// leave counts a write no more, which has been answered.
func (u *underWay) leave() { u.writes.Add(-1) }
