package fanout

import (
	"fmt"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Defaults and bounds of [RingOptions].
const (
	DefaultSlots    = 65_536
	MaxSlots        = 1 << 26
	DefaultMaxBytes = 64 << 20
)

// RingOptions sizes a [Ring]. The zero value means the defaults.
type RingOptions struct {
	// Slots is how many events the ring holds at most, rounded up to a power
	// of two. Default 65,536; at most 67,108,864.
	Slots int
	// MaxBytes bounds keys and values held, in bytes, with a fixed overhead
	// counted for each event. Default 64 MiB. The newest revision is always
	// kept, whatever its size.
	MaxBytes int64
}

// Ring is the queue between one writer and any number of readers, and the
// history that a reader can start from, in one: a bounded buffer of the newest
// events.
//
// The writer never waits. It overwrites the oldest events, whether or not a
// reader still needs them; so falling off the tail is the only way to lose, and
// the reader that fell off finds out, with the exact range, at its next read.
//
// # Who writes, who reads
//
// One producer goroutine at a time calls Push, Flush and Reset (for a state
// machine that is Raft's apply goroutine); where there are several, a [Front]
// takes turns for them. Each reader owns a [Cursor]. Nobody
// takes a lock that the writer could meet.
//
// # Why it is safe
//
// A slot is an atomic pointer to an immutable event that carries its own
// position. Positions only grow and are never used twice, so a reader that
// came for position p and finds an event of position p has the right one, whole
// (it was complete before the pointer was stored), and finding anything else
// means the writer has been round again. There is nothing to tear and no ABA;
// an event that was overwritten lives on for the reader that already holds it,
// and the collector does the rest.
//
// Push stores into slots at or beyond head, which no reader looks at. Flush
// publishes them by storing head. The writer moves tail before it overwrites or
// clears the first slot of an evicted revision, so a reader that was lapped
// finds a tail beyond its own position. Eviction is by whole revisions and
// readers take whole revisions, so the events of an atomic batch are kept or
// lost together.
//
// # What it costs
//
// A push is one atomic store, because an atomic store is most of what it costs:
// a full ring moves its tail a stride at a time, and a slot that is about to be
// overwritten is not cleared first. So up to a stride of events (a 64th of the
// slots, 64 at most) are evicted a little before their slots are needed; they
// count against MaxBytes for as long as the ring refers to them.
//
// # Why no wake-up is lost
//
// A reader that found nothing announces that it parks (parked, then the ring's
// count) and looks at head once more before it blocks. The writer stores head
// and then looks at the count. Go's atomics are sequentially consistent, so at
// least one of the two sees the other: either the reader finds the event, or
// the writer finds the reader. While nobody is parked, a Flush is one store and
// one load.
type Ring struct {
	slots    []atomic.Pointer[Event]
	mask     uint64
	stride   uint64
	maxBytes int64
	fronted  atomic.Bool // a Front pushes, and revisions are the front's

	_ [64]byte // the writer's own state, away from what readers load

	next    uint64     // position of the next event
	bytes   int64      // of the events in slots, staged ones included
	group   uint64     // position at which the newest revision begins
	sizes   []slotSize // of the events in slots: sequential, unlike the events
	last    uint64     // revision of the newest event
	first   uint64     // tail, as the writer knows it
	cleared uint64     // slots of positions below it were cleared or overwritten

	tail   atomic.Uint64 // positions below it are evicted
	headRv atomic.Uint64 // revision of the newest published event

	_ [64]byte // loaded by readers that spin, stored by the writer

	head atomic.Uint64 // positions below it are published

	_ [64]byte // stored by readers when they park

	parked atomic.Int32 // cursors that wait to be woken

	mu      sync.Mutex // guards changes of cursors
	cursors atomic.Pointer[[]*Cursor]
}

// maxStride bounds how many events are evicted at a time to make room.
const maxStride = 64

// slotSize is what the writer must know of an event to evict it: its bytes, and
// how many events of the same revision there are from here on, this one
// included.
type slotSize uint64

const restBits = 27 // more than MaxSlots

func sizeOf(e *Event, rest uint64) slotSize { return slotSize(uint64(e.bytes())<<restBits | rest) }
func (s slotSize) bytes() int64             { return int64(s >> restBits) }
func (s slotSize) rest() uint64             { return uint64(s) & (1<<restBits - 1) }

// NewRing returns an empty ring. The error wraps [ErrBadOption].
func NewRing(o RingOptions) (*Ring, error) {
	switch {
	case o.Slots == 0:
		o.Slots = DefaultSlots
	case o.Slots < 0 || o.Slots > MaxSlots:
		return nil, fmt.Errorf("%w: RingOptions.Slots is %d; give 1 to %d, or 0 for %d", ErrBadOption, o.Slots, MaxSlots, DefaultSlots)
	}
	switch {
	case o.MaxBytes == 0:
		o.MaxBytes = DefaultMaxBytes
	case o.MaxBytes < 0:
		return nil, fmt.Errorf("%w: RingOptions.MaxBytes is %d; give a positive number of bytes, or 0 for %d", ErrBadOption, o.MaxBytes, DefaultMaxBytes)
	}
	n := uint64(1) << bits.Len64(uint64(o.Slots-1))
	r := &Ring{
		slots:    make([]atomic.Pointer[Event], n),
		sizes:    make([]slotSize, n),
		mask:     n - 1,
		stride:   min(max(n/64, 1), maxStride),
		maxBytes: o.MaxBytes,
	}
	r.cursors.Store(new([]*Cursor))
	return r, nil
}

// Push stages e; readers see it after the next [Ring.Flush]. Only the producer
// goroutine may call it, with revisions that grow, the events of a batch one
// after another, and each event once. It never blocks and does not allocate.
//
// A batch of more events than the ring has slots cannot be kept; readers get a
// [Lagged] event for its revision instead.
func (r *Ring) Push(e *Event) {
	rest := uint64(1)
	if e.inBatch() {
		if uint64(e.BatchSize) > uint64(len(r.slots)) {
			if e.Batch > 0 {
				return
			}
			e = &Event{Op: Lagged, PrevRevision: e.Revision, Revision: e.Revision, Time: e.Time}
		} else {
			rest = uint64(e.BatchSize - e.Batch)
		}
	}
	pos := r.next
	if e.Batch == 0 {
		r.group = pos
	}
	if pos-r.first > r.mask {
		r.evict(pos)
	}
	slot := pos & r.mask
	size := sizeOf(e, rest)
	r.bytes += size.bytes() - r.sizes[slot].bytes()
	r.sizes[slot] = size
	e.pos = pos
	if pos > 0 {
		e.step = uint32(min(e.Revision-r.last, math.MaxUint32))
	}
	r.slots[slot].Store(e)
	r.last = e.Revision
	r.next = pos + 1
	if r.bytes > r.maxBytes {
		r.release()
	}
}

// evict makes room for position pos and some more, by whole revisions, oldest
// first. The slots keep what they hold until it is overwritten.
func (r *Ring) evict(pos uint64) {
	last := min(pos-r.mask+r.stride-1, r.group) - 1 // the last to go, unless more of its revision follow
	r.first = max(r.first, last+r.sizes[last&r.mask].rest())
	r.tail.Store(r.first)
}

// release clears slots, oldest first, until what they hold fits the bound again,
// or until only the newest revision is left.
func (r *Ring) release() {
	for r.bytes > r.maxBytes {
		if oldest := r.oldest(); oldest < r.first {
			r.clear(r.first)
		} else if oldest < r.group {
			r.first += r.sizes[oldest&r.mask].rest()
			r.clear(r.first)
		} else {
			return
		}
	}
}

// oldest returns the position of the oldest event in a slot.
func (r *Ring) oldest() uint64 {
	if n := uint64(len(r.slots)); r.next > n {
		return max(r.cleared, r.next-n)
	}
	return r.cleared
}

// clear makes the slots of positions below end, which are evicted, refer to
// nothing. Readers must find the new tail before they can find a slot changed,
// hence the order.
func (r *Ring) clear(end uint64) {
	if r.tail.Load() < end {
		r.tail.Store(end)
	}
	for p := r.oldest(); p < end; p++ {
		r.bytes -= r.sizes[p&r.mask].bytes()
		r.sizes[p&r.mask] = 0
		r.slots[p&r.mask].Store(nil)
	}
	r.cleared = end
}

// Flush publishes what was staged, once for a batch of log entries, and wakes
// the readers that are parked. Only the producer goroutine may call it. It
// never blocks. The events of one revision must be staged completely before it.
func (r *Ring) Flush() {
	r.headRv.Store(r.last) // before head: who finds the event finds its revision
	r.head.Store(r.next)
	if r.parked.Load() > 0 {
		r.wake()
	}
}

// Reset empties the ring, because the state was replaced as a whole by one that
// stands at revision, and publishes a [Reset] event in place of what was
// there. Only the producer goroutine may call it, with a revision above those
// that were pushed: readers that are further would not see it.
func (r *Ring) Reset(revision uint64) {
	r.first = r.next
	r.clear(r.first)
	r.Push(&Event{Op: Reset, Revision: revision})
	r.Flush()
}

// Revision returns the revision of the newest published event, 0 before the
// first. Any goroutine may call it.
func (r *Ring) Revision() uint64 { return r.headRv.Load() }

// Len returns how many events the ring holds. Any goroutine may call it.
func (r *Ring) Len() int {
	tail := r.tail.Load()
	if head := r.head.Load(); head > tail {
		return int(head - tail)
	}
	return 0
}

// oldestStart returns the lowest revision from which on the ring holds every
// event: the least that a watcher may ask to start from.
func (r *Ring) oldestStart() uint64 {
	for {
		tail, head := r.tail.Load(), r.head.Load()
		if head == 0 {
			return 0 // nothing was published yet
		}
		e := r.slots[tail&r.mask].Load()
		switch {
		case tail >= head:
			return r.Revision() + 1 // all that was published is gone
		case e == nil || e.pos != tail:
			continue // the writer went on
		case e.resetsAll():
			return e.Revision + 1
		case e.step == 0:
			return 0
		}
		return e.Revision - uint64(e.step) + 1
	}
}

// wake wakes every parked cursor.
func (r *Ring) wake() {
	for _, c := range *r.cursors.Load() {
		c.unpark(true)
	}
}

func (r *Ring) addCursor(c *Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.cursors.Load()
	list := make([]*Cursor, 0, len(old)+1)
	list = append(append(list, old...), c)
	r.cursors.Store(&list)
}

func (r *Ring) removeCursor(c *Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.cursors.Load()
	list := make([]*Cursor, 0, len(old))
	for _, o := range old {
		if o != c {
			list = append(list, o)
		}
	}
	r.cursors.Store(&list)
}
