package node

import (
	"sync/atomic"
	"time"
)

const (
	enqueueTimeout = 2 * time.Second // to hand something to Raft

	// freeWrites is how many calls may be under way, from being made to being answered,
	// before a write is given a timeout for the first part of it. Raft's queue has room for
	// twice as many (maxAppendEntries), so they find room there, however long the log takes.
	freeWrites = maxAppendEntries / 2
)

// underWay counts the calls of Raft that it answers by way of its queues: writes, barriers,
// proofs of leadership and changes of the members, between call and answer.
//
// Raft answers nothing that is in its queues when it ends, and what comes there later
// finds its way in now and then, too. Who waits would wait for ever. So before it is ended
// no more are let in, and those that are under way are waited for, however long that takes:
// while it runs it answers, without a log or a majority within a lease (proofs: see
// Node.configure; a majority that answers and stores nothing: see Node.loseOthers), and while
// it stands still, at a disk say, it could not be ended either.
//
// And a timeout costs a write a timer, two objects and a tenth of all that it allocates, to
// guard against a full queue; so while there are few calls, there is none.
type underWay struct {
	calls atomic.Int64
	ended atomic.Bool
}

// enter counts a call, which must leave when it is answered, and returns for how long it may
// wait for room in Raft's queue, 0 if there is room. It reports false if Raft ends.
func (u *underWay) enter() (timeout time.Duration, ok bool) {
	n := u.calls.Add(1)
	if u.ended.Load() {
		u.leave()
		return 0, false
	}
	if n > freeWrites {
		return enqueueTimeout, true
	}
	return 0, true
}

// leave counts a call no more, which has been answered.
func (u *underWay) leave() { u.calls.Add(-1) }

// end lets no more calls in, and returns when those under way have been answered.
func (u *underWay) end() {
	u.ended.Store(true) // before the count is looked at, as enter does it the other way round
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for u.calls.Load() > 0 {
		<-tick.C
	}
}
