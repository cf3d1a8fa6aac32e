package fanout

import (
	"sync/atomic"
	"time"
)

// Producer publishes the changes of one state machine through a [Front]. One
// goroutine at a time may use it.
type Producer struct {
	front  *Front
	source uint16

	staged  *batch    // what Flush publishes; nil before the first Push
	marker  *batch    // what was put on the list last, if it is a marker
	buffers [2]*batch // made on need; the first one is used if it is free

	_ [16]byte // a cache line: each is written by another core
}

// Push stages e; readers see it some time after the next [Producer.Flush]. It
// never blocks. Revisions are the producer's own; as with [Ring.Push] the events
// of a batch come one after another, and each event once.
//
// The event is the front's from then on: it sets Source and SourceRevision, and
// Revision at any time, so the caller must not read that any more.
//
// What is staged between two calls of Flush is published whole, or lost whole if
// it exceeds the ring's slots, or, being of more than one revision, its MaxBytes.
// A nil event is left out, as by [Ring.Push].
func (p *Producer) Push(e *Event) {
	if e == nil {
		return
	}
	b := p.staged
	if b == nil {
		b = p.begin()
	}
	e.Source, e.SourceRevision = p.source, e.Revision
	if b.pushed == 0 {
		b.first, b.time = e.Revision, e.Time
	}
	b.pushed++
	b.last = e.Revision
	if b.void {
		return
	}
	b.events = append(b.events, e)
	b.bytes += e.bytes()
	if len(b.events) > p.front.slots || b.bytes > p.front.maxBytes && b.first != b.last {
		b.drop() // what cannot be published any more is not held until Flush
	}
}

// Flush publishes what was staged, in this goroutine or in that of a producer
// that is at work, and wakes the readers that are parked. It never blocks, but it
// may publish what others have staged. The events of one revision must be staged
// completely before it.
func (p *Producer) Flush() {
	b := p.staged
	if b == nil || b.pushed == 0 {
		return
	}
	if !b.void && p.front.admit(b) {
		p.marker = nil
	} else {
		p.front.dropped.Add(uint64(b.pushed))
		if p.marker != nil && p.marker.extendLoss(b.last) {
			b.reset()
			return // the marker is still to be published, by somebody
		}
		b.drop()
		b.loss.Store(b.last + 1)
		p.marker = b
	}
	p.staged = nil
	p.front.add(b)
	p.front.combine()
}

// Reset publishes a [Reset] event behind what was staged, because the state of
// this producer was replaced as a whole by one that stands at its revision. What
// the ring holds of other producers is still good, so it stays, and so does what
// it holds of this one. If there is no room for the event, the [Lagged] event in
// its place says as much.
func (p *Producer) Reset(revision uint64) {
	p.Push(&Event{Op: Reset, Revision: revision})
	p.Flush()
}

// begin returns an empty batch to stage in.
func (p *Producer) begin() *batch {
	i := 0
	if b := p.buffers[0]; b != nil && !b.free.Load() {
		i = 1
	}
	if b := p.buffers[i]; b == nil || !b.free.Load() {
		p.buffers[i] = &batch{source: p.source} // the collector gets the old one, once it is published
	}
	p.staged = p.buffers[i]
	p.staged.free.Store(false)
	return p.staged
}

// batch is what one Flush publishes, or, without events, the marker of what was
// lost in its place. It is its producer's until it is on the front's list, then
// of whoever takes it from there, and its producer's again when it is free.
type batch struct {
	next   *batch
	events []*Event
	bytes  int64 // of these
	pushed int   // events that were staged

	first, last uint64    // revisions of the producer
	time        time.Time // of the first event
	source      uint16
	void        bool // nothing is held: it is to be a marker

	loss atomic.Uint64 // in a marker that waits: the newest revision lost, plus one
	free atomic.Bool   // the producer may use it again

	_ [16]byte // two cache lines
}

// maxKept bounds the slots that an empty batch keeps.
const maxKept = 1024

// drop lets go of the events, which cannot be published.
func (b *batch) drop() { b.events, b.bytes, b.void = nil, 0, true }

// extendLoss makes the marker cover what was lost up to revision, directly behind
// it; false if it does not wait any more.
func (b *batch) extendLoss(revision uint64) bool {
	old := b.loss.Load()
	return old != 0 && b.loss.CompareAndSwap(old, revision+1)
}

// endLoss returns the newest revision that the marker covers; from then on it
// covers no more.
func (b *batch) endLoss() uint64 { return b.loss.Swap(0) - 1 }

// reset makes the batch an empty one.
func (b *batch) reset() {
	clear(b.events)
	b.events = b.events[:0]
	if cap(b.events) > maxKept {
		b.events = nil
	}
	b.pushed, b.bytes, b.void = 0, 0, false
}

// release gives the batch back to its producer, which must be the last thing
// done to it.
func (b *batch) release() {
	b.reset()
	b.next = nil
	b.free.Store(true)
}
