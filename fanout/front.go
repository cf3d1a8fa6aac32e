package fanout

import (
	"fmt"
	"sync/atomic"
)

// MaxProducers bounds the producers of a [Front].
const MaxProducers = 1<<16 - 1

// Front lets several producers publish to one [Ring], which by itself has one:
// for a program with several Raft groups, each with its own apply goroutine, that
// wants one registry and one dispatcher.
//
// # What it promises
//
// The events of one producer come in the order in which it pushed them, and
// batches are whole. A producer waits for nobody: not for a watcher, not for the
// dispatcher, not for another producer.
//
// Among producers there is an order too, the same for every watcher, and the
// front counts it: [Event.Revision] grows by one for each revision of a producer,
// from 1, and what the package promises holds in these revisions. But which of
// two producers came first is a matter of this process and this run. So there is
// no resuming by revision ([FromRevision]) and no state at one revision
// ([WithInitial]), both of which a registry behind a front refuses. The producer's
// own revision is in [Event.SourceRevision]; its chain, by PrevRevision, holds
// among the events of one [Event.Source].
//
// # How
//
// A Flush puts the producer's batch on a list and then, if nobody is at work on
// the ring, goes to work itself: it takes all that waits, whoever it is from,
// numbers it, pushes it and flushes the ring once. If somebody is at work, it
// returns: that one finds the batch. (Combining, as in Hendler, Incze, Shavit and
// Tzafrir, "Flat Combining and the Synchronization-Parallelism Tradeoff", SPAA
// 2010; there a caller waits for its result, here there is none to wait for.)
//
// A mutex around the ring would let a producer wait for one that was descheduled
// while it holds it. A ring for each producer, with a goroutine that merges them,
// would cost every event a hop to another core and a second copy, and would leave
// the loss to be told twice.
//
// # Why it is safe
//
// The list is a stack that anyone pushes onto and that is only ever taken whole
// (Treiber, "Systems Programming: Coping with Parallelism", IBM RJ 5118, 1986):
// nobody follows a pointer out of a list that another may change, so it does not
// matter whether a batch was away and came back meanwhile. Turned round, what was
// taken is in the order of arrival; what is taken later arrived later.
//
// Whoever moves busy from false to true is the ring's one producer until it
// moves it back, and the atomics hand the ring's state from one to the next.
//
// # Why nothing is left behind
//
// A producer first puts its batch on the list and then tries busy; who is at work
// first clears busy and then looks at the list. Go's atomics are sequentially
// consistent, so if the producer found busy set, it did so before it was cleared,
// and the look that follows finds the batch, or somebody has it already. When all
// calls of Flush have returned, all is published.
//
// For the same reason nobody may leave while something waits: its producer has
// returned and need not come again. So a producer that is at work has no bound
// on its rounds, only on each round, by the ring's own size. What it does for
// others is the smaller part of their work, a store into the ring for an event
// that they had to decode, apply and allocate, so each round finds less than the
// one before. And after each round busy is clear for a moment: who comes then
// takes over. Only if together they make events faster than one core can store
// them does it stay, and then the bound below applies.
//
// # What is lost, and where that is told
//
// Who is at work may be descheduled, and the others go on. What waits meanwhile
// is bounded as the ring itself is, by its slots and its MaxBytes (the latter but
// for a single revision that is larger). A batch that would exceed them is
// dropped as a whole, and a marker takes its place on the list: behind what this
// producer put there before, ahead of what follows. It becomes a revision of its
// own with a [Lagged] event, which every watcher is told of as of any loss in the
// ring (whose it was, only a [Cursor] sees). Further batches that are dropped
// directly after one share its marker for as long as it waits, so of one producer
// there is at most one marker more than there are batches.
//
// # What it costs
//
// A dozen atomic operations for each Flush, nearly all on one cache line, and a
// second pass over the batch, by pointers. No allocation while nothing is lost and a
// producer finds one of its two buffers free; if both wait, a third is allocated.
type Front struct {
	ring      *Ring
	slots     int   // the ring's: events that may wait
	maxBytes  int64 // the ring's: bytes that may wait
	producers atomic.Uint32
	dropped   atomic.Uint64

	_ [64]byte // what every Flush takes to itself

	waiting atomic.Pointer[batch] // newest first
	events  atomic.Int64          // in what waits, until they are in the ring
	bytes   atomic.Int64          // of these
	busy    atomic.Bool           // a producer is at work on the ring

	_ [64]byte // of the one at work

	revision uint64 // of the newest event in the ring
}

// NewFront takes a ring over before anything else has happened to it: before the
// first Push, and best before the dispatcher is made. From then on only the front
// may push. The error wraps [ErrBadOption].
func NewFront(ring *Ring) (*Front, error) {
	switch {
	case ring == nil:
		return nil, fmt.Errorf("%w: a front needs a ring", ErrBadOption)
	case ring.next > 0:
		return nil, fmt.Errorf("%w: the front's ring has events, with revisions that are not the front's; give it a new one", ErrBadOption)
	case ring.readAbove() > 0:
		return nil, fmt.Errorf("%w: a reader of the front's ring begins above revision %d (DispatcherOptions.After, or Ring.Cursor), and the revisions of a Front begin anew with the process; give 0", ErrBadOption, ring.readAbove())
	case !ring.fronted.CompareAndSwap(false, true):
		return nil, fmt.Errorf("%w: the ring has a front already; take another producer of that one", ErrBadOption)
	}
	return &Front{ring: ring, slots: int(ring.size), maxBytes: ring.maxBytes}, nil
}

// Producer returns a new producer, one for each goroutine that makes changes.
// They are numbered from 1, in [Event.Source], and are not given back. Any
// goroutine may call it. The error wraps [ErrBadOption]: there are [MaxProducers].
func (f *Front) Producer() (*Producer, error) {
	for {
		n := f.producers.Load()
		if n >= MaxProducers {
			return nil, fmt.Errorf("%w: the front has %d producers, and no more numbers; use those there are", ErrBadOption, n)
		}
		if f.producers.CompareAndSwap(n, n+1) {
			return &Producer{front: f, source: uint16(n + 1)}, nil
		}
	}
}

// Dropped returns how many events were lost because too many waited. Any
// goroutine may call it.
func (f *Front) Dropped() uint64 { return f.dropped.Load() }

// admit counts b among what waits, if there is room for it. A larger one that is
// refused counts for a moment, so a smaller one may be refused for its sake.
func (f *Front) admit(b *batch) bool {
	n := int64(len(b.events))
	events, bytes := f.events.Add(n), f.bytes.Add(b.bytes)
	if events <= int64(f.slots) && (bytes <= f.maxBytes || bytes == b.bytes) {
		return true
	}
	f.events.Add(-n)
	f.bytes.Add(-b.bytes)
	return false
}

// add puts b on the list.
func (f *Front) add(b *batch) {
	for {
		b.next = f.waiting.Load()
		if f.waiting.CompareAndSwap(b.next, b) {
			return
		}
	}
}

// combine publishes what waits, unless somebody is at it.
func (f *Front) combine() {
	for f.busy.CompareAndSwap(false, true) {
		f.round()
		if !f.leave() {
			return
		}
	}
}

// leave ends the work, and reports whether something has come in meanwhile.
func (f *Front) leave() bool {
	f.busy.Store(false) // before the look, or nobody would see to what comes in between
	return f.waiting.Load() != nil
}

// round publishes what waits now. The caller has set busy.
func (f *Front) round() {
	var events, bytes int64
	for b := f.take(); b != nil; {
		next := b.next
		events += int64(len(b.events))
		bytes += b.bytes
		if b.void {
			f.pushMarker(b)
		} else {
			f.push(b.events)
		}
		b.release()
		b = next
	}
	f.events.Add(-events)
	f.bytes.Add(-bytes)
	f.ring.Flush()
}

// take removes the list and returns it oldest first.
func (f *Front) take() (oldest *batch) {
	for b := f.waiting.Swap(nil); b != nil; {
		next := b.next
		b.next = oldest
		oldest, b = b, next
	}
	return oldest
}

// push numbers events and pushes them into the ring.
func (f *Front) push(events []*Event) {
	for i, e := range events {
		if e.Batch == 0 || i == 0 || e.SourceRevision != events[i-1].SourceRevision {
			f.revision++
		}
		e.Revision = f.revision
		if e.Op == Lagged {
			e.PrevRevision = f.revision // the producer's range means nothing to readers
		}
		f.ring.Push(e)
	}
}

// pushMarker tells of what was lost at this place.
func (f *Front) pushMarker(b *batch) {
	f.revision++
	f.ring.Push(&Event{
		Op: Lagged, PrevRevision: f.revision, Revision: f.revision,
		Source: b.source, SourceRevision: b.endLoss(), Time: b.time,
	})
}
