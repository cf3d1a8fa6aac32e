package fanout

import "sync/atomic"

// block is a piece of a ring: consecutive slots, which the writer fills one after
// the other with plain stores. Readers count themselves in while they read it,
// because that is what allows the writer to use its slots again: see [Ring].
type block struct {
	readers atomic.Int32
	slots   []*Event
}

func newBlock(size uint64) *block { return &block{slots: make([]*Event, size)} }

func (b *block) leave() { b.readers.Add(-1) }

// enter returns the block of pos, in which the caller may read from pos on up to
// a head that it loaded before, until it leaves; nil if pos was evicted.
func (r *Ring) enter(pos uint64) *block {
	at := &r.blocks[r.index(pos)]
	for {
		b := at.Load()
		b.readers.Add(1)
		if at.Load() != b {
			b.leave() // it was replaced, and the new one has what came since
			continue
		}
		if r.tail.Load() > pos {
			b.leave()
			return nil
		}
		return b
	}
}

// peek returns the event at a position below a head that the caller loaded
// before; nil if it was evicted.
func (r *Ring) peek(pos uint64) *Event {
	b := r.enter(pos)
	if b == nil {
		return nil
	}
	e := b.slots[pos&r.within]
	b.leave()
	return e
}

// index returns where in the table the block of pos stands.
func (r *Ring) index(pos uint64) uint64 { return pos >> r.shift % uint64(len(r.blocks)) }
