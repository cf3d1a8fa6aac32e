package fanout

import (
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
// Positions are dense and only grow. Push stores at or beyond head, where no
// reader looks, and Flush publishes what was stored by storing head; so below
// head a reader finds whole events, and the slots may be plain memory.
//
// What remains is that slots are used again. They stand in blocks, a table of
// which goes round. A reader counts itself in before it reads a block, and then
// looks at tail; the writer moves tail behind what it evicts, and then looks at
// the block's count. Go's atomics are sequentially consistent, so at least one
// of the two sees the other: the reader finds its position evicted and leaves
// again, or the writer finds the reader. In that case it leaves the block to
// the reader as it is, and puts a new one in its place in the table. So a block
// is written to only where no reader is: what a reader has come for cannot
// change under it, there is nothing to tear and no ABA. (This is a hazard pointer,
// Michael 2004, that counts instead of naming the reader, so that the writer
// looks at one word however many readers there are.)
//
// A block may also be replaced while a part of it is live, when that is evicted
// for its bytes. Therefore a reader loads head first, then the block, counts
// itself in, and looks whether the block still stands in the table: then it has
// everything below that head.
//
// Eviction is by whole revisions and readers take whole revisions, so the events
// of an atomic batch are kept or lost together.
//
// # What it costs
//
// A push is a few plain stores. What an atomic store costs, some nanoseconds, a
// batch pays twice. A full ring evicts several blocks at a time: up to a 64th of the
// slots, 512 at most, a little before they are needed. What the writer must know of a
// block it has for itself, because to look at a word that readers store costs more than
// a dozen pushes. It allocates only a block, and only where a reader was stopped in the
// middle of reading one for as long as the ring lasts.
//
// # Why no wake-up is lost
//
// A reader that found nothing announces that it parks (parked, then the ring's
// count) and looks at head once more before it blocks. The writer stores head
// and then looks at the count. By sequential consistency again, either the reader
// finds the event, or the writer finds the reader. While nobody is parked, a
// Flush is two stores and one load.
type Ring struct {
	blocks   []atomic.Pointer[block]
	size     uint64 // events held at most
	shift    uint64 // log2 of the slots in a block
	within   uint64 // masks a position's place in its block
	stride   uint64 // how many slots are evicted at a time, if the ring is full
	maxBytes int64
	fronted  atomic.Bool // a Front pushes, and revisions are the front's

	_ [64]byte // the writer's own state, away from what readers load

	next     uint64   // position of the next event
	stop     uint64   // position at which turn is to be called
	slots    []*Event // of the block of next
	open     *holding // what is known of that block
	group    uint64   // position at which the newest revision begins
	last     uint64   // revision of the newest event
	pushed   int64    // bytes of all events ever, staged ones included
	limit    int64    // of pushed; more than that, and some have to go
	flushed  uint64   // position up to which events were published before
	settled  uint64   // revision of the last of these
	first    uint64   // tail, as the writer knows it
	holdings []holding

	_ [64]byte // stored at every Flush, loaded by who registers

	headRv atomic.Uint64 // revision of the newest published event

	_ [64]byte // loaded by readers at every read, stored once a block

	tail atomic.Uint64 // positions below it are evicted

	_ [64]byte // loaded by readers that spin, stored by the writer

	head atomic.Uint64 // positions below it are published

	_ [64]byte // stored by readers when they park

	parked atomic.Int32 // cursors that wait to be woken

	mu      sync.Mutex // guards changes of cursors
	cursors atomic.Pointer[[]*Cursor]
}

// maxBlock bounds how many slots a block has.
const maxBlock = 64

// maxStride bounds how many slots are evicted at a time.
const maxStride = 512

// NewRing returns an empty ring. The error wraps [ErrBadOption].
func NewRing(o RingOptions) (*Ring, error) {
	switch {
	case o.Slots == 0:
		o.Slots = DefaultSlots
	case o.Slots < 0 || o.Slots > MaxSlots:
		return nil, badOption("RingOptions.Slots", "is %d; give 1 to %d, or 0 for %d", o.Slots, MaxSlots, DefaultSlots)
	}
	switch {
	case o.MaxBytes == 0:
		o.MaxBytes = DefaultMaxBytes
	case o.MaxBytes < 0:
		return nil, badOption("RingOptions.MaxBytes", "is %d; give a positive number of bytes, or 0 for %d", o.MaxBytes, DefaultMaxBytes)
	}
	o.MaxBytes = min(o.MaxBytes, math.MaxInt64/2) // sums of bytes have room
	size := uint64(1) << bits.Len64(uint64(o.Slots-1))
	slots := min(max(size/64, 1), maxBlock)
	// One block more than the events need, because the newest revision may be as
	// large as the ring and begin anywhere in a block.
	n := size/slots + 1
	r := &Ring{
		blocks:   make([]atomic.Pointer[block], n),
		size:     size,
		shift:    uint64(bits.TrailingZeros64(slots)),
		within:   slots - 1,
		stride:   min(max(size/64, 1), maxStride),
		maxBytes: o.MaxBytes,
		limit:    o.MaxBytes,
		holdings: make([]holding, n),
	}
	for i := range r.blocks {
		b := newBlock(slots)
		r.blocks[i].Store(b)
		r.holdings[i].slots = b.slots
	}
	r.cursors.Store(new([]*Cursor))
	return r, nil
}

// Push stages e; readers see it after the next [Ring.Flush]. Only the producer
// goroutine may call it, with revisions that grow, the events of a batch one
// after another, and each event once. It never blocks, and allocates only what [Ring]
// says, and the Lagged event of which more below.
//
// A nil event stands for no change: it is left out, and the batch that it was
// meant for is so much shorter. A producer that changed something and cannot say
// what pushes a [Lagged] event, from above the revision before it. A batch of more
// events than the ring has slots cannot be kept; readers get such an event for its
// revision instead.
func (r *Ring) Push(e *Event) {
	if e == nil {
		return
	}
	begins := e.Batch == 0 || e.Revision != r.last // the batch's first may have been left out
	if uint64(e.BatchSize) > r.size {
		if !begins {
			return
		}
		e = &Event{Op: Lagged, PrevRevision: e.Revision, Revision: e.Revision, Time: e.Time}
	}
	pos := r.next
	if begins {
		r.group = pos
	}
	if pos == r.stop {
		r.turn(pos)
	}
	at := pos & r.within
	if begins && at < r.open.start {
		r.open.start = at
	}
	if pos > 0 {
		e.step = uint32(min(e.Revision-r.last, math.MaxUint32))
	}
	r.slots[at] = e
	r.last = e.Revision
	r.next = pos + 1
	if r.pushed += e.bytes(); r.pushed > r.limit {
		r.release()
	}
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
	r.flushed, r.settled = r.next, r.last
}

// Reset empties the ring, because the state was replaced as a whole by one that
// stands at revision, and publishes a [Reset] event in place of what was
// there. Only the producer goroutine may call it, with a revision above those
// that were pushed: readers that are further would not see it.
//
// A producer whose state has a revision when the ring is new begins with it. Without
// it the first event that is pushed counts as the first that there was, and
// [FromRevision] does not refuse a revision that lies before it.
func (r *Ring) Reset(revision uint64) {
	r.evict(r.next)
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
		if tail >= head {
			return r.Revision() + 1 // all that was published is gone
		}
		e := r.peek(tail)
		switch {
		case e == nil:
			continue // the writer went on
		case e.resetsAll():
			return e.Revision + 1
		case e.step == 0:
			return 0
		}
		return e.Revision - uint64(e.step) + 1
	}
}

// readAbove returns the highest revision that a cursor has been told to begin
// above, before the first event is published.
func (r *Ring) readAbove() (revision uint64) {
	for _, c := range *r.cursors.Load() {
		revision = max(revision, c.last)
	}
	return revision
}

// wake wakes every parked cursor that does not want to be left alone.
func (r *Ring) wake() {
	for _, c := range *r.cursors.Load() {
		if c.parked.Load() && (c.spare == nil || !c.spare()) {
			c.unpark(true)
		}
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
