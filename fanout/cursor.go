package fanout

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"sync/atomic"
	"time"
)

// Cursor reads a [Ring] from a revision on. One goroutine at a time may use it;
// it must be closed.
type Cursor struct {
	ring *Ring
	pos  uint64 // where it reads next: always the first event of a revision
	last uint64 // revision through which it has read, lost ranges included
	lost bool   // what lay between last and pos may have been evicted
	spin time.Duration

	block  *block // that it is in; nil unless it polls
	number uint64 // of that block

	listed bool // the ring knows it, to wake it
	parked atomic.Bool
	wake   chan struct{} // one slot: a signal, never a count
	kick   chan struct{} // if set, signalled after wake: see Dispatcher.kicked
	spare  func() bool   // if set, asked by the writer whether to leave it parked: see feed.spare

	tick   <-chan time.Time // if set, ends a wait too
	ticked bool             // it did
	due    <-chan time.Time // the same, for a line about losses
}

// Cursor returns a reader whose first event is the first with a revision above
// after. If the ring no longer holds all of these, its first event is a
// [Lagged] one with the missing range. Any goroutine may call it.
func (r *Ring) Cursor(after uint64) *Cursor {
	c := r.cursor(after, make(chan struct{}, 1))
	c.list()
	return c
}

// cursor returns a reader that signals on wake when it was parked. The ring gets
// to know it when it parks.
func (r *Ring) cursor(after uint64, wake chan struct{}) *Cursor {
	c := &Cursor{ring: r, last: after, wake: wake}
	c.pos, c.lost = r.search(after)
	return c
}

func (c *Cursor) list() {
	if !c.listed {
		c.listed = true
		c.ring.addCursor(c)
	}
}

// search returns the position of the oldest held event with a revision above
// after, the start of its revision; head if there is none. It adds whether
// nothing at or below after is held, so that more may have been wanted.
func (r *Ring) search(after uint64) (pos uint64, lost bool) {
	for {
		tail, head := r.tail.Load(), r.head.Load()
		if tail >= head {
			return head, true
		}
		evicted := false
		n := sort.Search(int(head-tail), func(i int) bool {
			e := r.peek(tail + uint64(i))
			if e == nil {
				evicted = true
				return true
			}
			return e.Revision > after
		})
		if !evicted {
			return tail + uint64(n), n == 0
		}
	}
}

// Last returns the revision through which the cursor has read.
func (c *Cursor) Last() uint64 { return c.last }

// Poll appends what can be read now to buf, as far as its capacity goes, and
// returns it: events in order, each once, whole revisions only; without capacity to
// spare, none. Where events were lost it has a [Lagged] event with their range. It
// never blocks, and it returns buf unchanged if there is nothing to read. It allocates
// only for a Lagged event, or if the events of one revision do not fit.
func (c *Cursor) Poll(buf []*Event) []*Event {
	buf = c.poll(buf)
	c.leave()
	return buf
}

func (c *Cursor) poll(buf []*Event) []*Event {
	room := cap(buf) // a batch may make it grow
	head := c.ring.head.Load()
	for c.pos < head && len(buf) < room {
		e := c.load(c.pos)
		if e == nil || c.lost {
			var marker *Event
			if marker, head = c.lapped(); marker != nil {
				buf = append(buf, marker)
			}
			continue
		}
		if !e.inBatch() {
			c.pos++
			buf = c.take(buf, e)
			continue
		}
		start, revision := len(buf), e.Revision
		for end := min(c.pos+uint64(e.BatchSize), head); c.pos < end; c.pos++ {
			if e = c.load(c.pos); e == nil || e.Revision != revision {
				break // lapped; or a batch that is shorter than it says
			}
			buf = append(buf, e)
		}
		if e == nil || revision <= c.last {
			clear(buf[start:]) // lapped within it, so lost as a whole; or read already
			buf = buf[:start]
			continue
		}
		c.last = revision
	}
	return buf
}

// take appends e unless it lies at or below what was read already.
func (c *Cursor) take(buf []*Event, e *Event) []*Event {
	if e.Revision <= c.last {
		return buf
	}
	c.last = e.Revision
	return append(buf, e)
}

// load returns the event at pos, below a head that was loaded before the cursor
// entered a block; nil if it was evicted. The cursor stays in the block.
func (c *Cursor) load(pos uint64) *Event {
	if number := pos >> c.ring.shift; c.block == nil || c.number != number {
		c.leave()
		if c.block = c.ring.enter(pos); c.block == nil {
			return nil
		}
		c.number = number
	}
	return c.block.slots[pos&c.ring.within]
}

// leave leaves the block that the cursor is in. It is in one only while it polls:
// a block that is never left is one that the writer cannot use again.
func (c *Cursor) leave() {
	if c.block != nil {
		c.block.leave()
		c.block = nil
	}
}

// lapped moves the cursor to the oldest event that can still be read. It
// returns the marker of what was lost, nil if that is not known yet or if
// nothing of it was wanted, and the head it saw.
func (c *Cursor) lapped() (marker *Event, head uint64) {
	r := c.ring
	for {
		c.leave() // a block is good only for a head loaded before
		tail := r.tail.Load()
		head = r.head.Load()
		if tail >= head {
			// All that was published is gone and its replacement is staged:
			// the next Flush shows where the loss ends.
			return nil, 0
		}
		oldest := c.load(tail)
		if oldest == nil {
			continue // the writer went on; so does the tail
		}
		c.pos, c.lost = tail, false
		if oldest.follows(c.last) {
			return nil, head
		}
		marker = &Event{Op: Lagged, PrevRevision: c.last + 1, Revision: oldest.Revision - uint64(oldest.step), Time: oldest.Time}
		c.last = marker.Revision
		return marker, head
	}
}

// Next waits until there is something to read and appends it to buf as
// [Cursor.Poll] does. The error is the cause of ctx, or wraps [ErrBadOption] if
// there is no context. It blocks only the caller. If buf has no capacity to spare it
// grows.
func (c *Cursor) Next(ctx context.Context, buf []*Event) ([]*Event, error) {
	if ctx == nil {
		return buf, fmt.Errorf("%w: the context is nil", ErrBadOption)
	}
	buf = slices.Grow(buf, 1)
	n := len(buf)
	for {
		if buf = c.Poll(buf); len(buf) > n {
			return buf, nil
		}
		if err := c.wait(ctx); err != nil {
			return buf, err
		}
	}
}

// wait returns once there may be something to read.
func (c *Cursor) wait(ctx context.Context) error {
	if c.spin > 0 && c.spinning(ctx) {
		return nil
	}
	// The count goes first and the flag last, so that the count never lacks a
	// reader whose flag is up: the writer looks at flags only if it is not 0.
	c.ring.parked.Add(1)
	c.parked.Store(true)
	var err error
	if !c.readable() {
		select {
		case <-c.wake:
		case <-c.tick:
			c.ticked = true
		case <-c.due:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	c.unpark(false) // the signal may be an old one, from a race that the reader won
	return err
}

// spinning polls for a while before the caller parks: a wake-up costs the
// writer microseconds, a reader that is still awake costs it nothing.
func (c *Cursor) spinning(ctx context.Context) bool {
	if runtime.GOMAXPROCS(0) == 1 {
		return false // it would only keep the writer from running
	}
	for end := time.Now().Add(c.spin); ; {
		if ctx.Err() != nil {
			return false
		}
		for range 32 {
			if c.readable() {
				return true
			}
		}
		runtime.Gosched()
		select {
		case <-c.tick:
			c.ticked = true
			return true
		case <-c.due:
			return true
		default:
		}
		if !time.Now().Before(end) {
			return false
		}
	}
}

// readable reports whether Poll would get further. A cursor that was lapped by
// events that are staged only has to wait like any other.
func (c *Cursor) readable() bool {
	head := c.ring.head.Load()
	return head > c.pos && head > c.ring.tail.Load()
}

// unpark takes back the announcement that the cursor is parked; whoever takes
// it back also signals, if asked to.
func (c *Cursor) unpark(wake bool) {
	if !c.parked.CompareAndSwap(true, false) {
		return
	}
	c.ring.parked.Add(-1)
	if wake {
		signal(c.wake) // an old one may still be there
		signal(c.kick)
	}
}

// Close releases the cursor. It is not needed by the ring's own collection,
// only by the writer, which otherwise keeps looking for it.
func (c *Cursor) Close() {
	if c.listed {
		c.listed = false
		c.ring.removeCursor(c)
	}
}

// park announces that the reader waits for the writer, whose next Flush signals;
// false if there is something to read by now.
func (c *Cursor) park() bool {
	c.list()
	if !c.parked.Load() {
		c.ring.parked.Add(1)
		c.parked.Store(true)
	}
	if c.readable() {
		c.unpark(false)
		return false
	}
	return true
}

// atHead reports whether everything published has been read, or was told to be
// lost.
func (c *Cursor) atHead() bool {
	head := c.ring.head.Load()
	return c.pos == head && (!c.lost || head == 0)
}
