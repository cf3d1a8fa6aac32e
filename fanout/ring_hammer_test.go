package fanout

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds a test that would otherwise hang when something is wrong. It
// is no measure of how long anything may take.
const patience = 30 * time.Second

// eachGOMAXPROCS runs test with one processor, with two, and with more
// runnable threads than the machine may have.
func eachGOMAXPROCS(t *testing.T, test func(t *testing.T)) {
	for _, n := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			test(t)
		})
	}
}

// tally adds up what one receiver got of dense revisions.
type tally struct {
	through         uint64 // revision of the last event
	events          int    // received
	received, gone  uint64 // revisions: received, and in lost ranges
	batch, batchLen uint32 // where a batch is that is not whole yet
}

// add checks that e goes on exactly where the last event ended.
func (s *tally) add(e *Event) error {
	s.events++
	if s.batch < s.batchLen {
		if e.Revision != s.through || e.Batch != s.batch {
			return fmt.Errorf("within the batch of revision %d: got %v of revision %d, number %d of it", s.through, e.Op, e.Revision, e.Batch)
		}
		s.batch++
		return nil
	}
	from := e.Revision
	if e.Op == Lagged {
		from = e.PrevRevision
		s.gone += e.Revision - from + 1
	} else {
		s.received++
	}
	if from != s.through+1 || e.Revision < from || e.Batch != 0 {
		return fmt.Errorf("after revision %d: got %v of %d..%d, number %d of its batch", s.through, e.Op, from, e.Revision, e.Batch)
	}
	s.through = e.Revision
	s.batch, s.batchLen = min(1, e.BatchSize), e.BatchSize
	return nil
}

// whole checks that every revision up to last is accounted for.
func (s *tally) whole(last uint64) error {
	if s.batch < s.batchLen {
		return fmt.Errorf("the batch of revision %d ends after %d of %d", s.through, s.batch, s.batchLen)
	}
	if s.received+s.gone != last || s.through != last {
		return fmt.Errorf("received %d and lost %d revisions, %d in all and up to %d; want %d", s.received, s.gone, s.received+s.gone, s.through, last)
	}
	return nil
}

// TestRingHammer: readers that park all the time lose no event untold and no
// wake-up, while the writer laps them, pauses until they have caught up, and
// goes on at the moment they park.
func TestRingHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const readers, last = 3, 20_000
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience,
			fmt.Errorf("a reader sleeps although there is something to read"))
		defer cancel()
		r := newTestRing(t, 16)
		var reached [readers]atomic.Uint64
		var wg sync.WaitGroup
		for i := range readers {
			c := r.Cursor(0)
			c.spin = time.Duration(i) * 5 * time.Microsecond // the first not at all
			wg.Go(func() {
				defer c.Close()
				var s tally
				buf := make([]*Event, 0, 1+4*i)
				for s.through < last {
					events, err := c.Next(ctx, buf[:0])
					if err != nil {
						t.Errorf("reader %d at revision %d of %d: %v", i, s.through, r.Revision(), err)
						return
					}
					for _, e := range events {
						if err := s.add(e); err != nil {
							t.Errorf("reader %d: %v", i, err)
							cancel()
							return
						}
					}
					reached[i].Store(s.through)
				}
				if err := s.whole(last); err != nil {
					t.Errorf("reader %d: %v", i, err)
				}
			})
		}
		for revision := uint64(1); revision <= last; {
			for n := rand.N(12); n >= 0 && revision <= last; n-- {
				keys := [5]string{}
				for _, e := range batchOf(revision, keys[:1+rand.N(5)]...) {
					r.Push(e)
				}
				revision++
			}
			r.Flush()
			if parked := r.parked.Load(); parked < 0 {
				t.Fatalf("%d readers are parked: one that is would not be woken", parked)
			}
			if rand.N(2) == 0 {
				continue
			}
			for i := range readers {
				for reached[i].Load() < revision-1 && ctx.Err() == nil {
					runtime.Gosched()
				}
			}
		}
		wg.Wait()
		if parked := r.parked.Load(); parked != 0 {
			t.Errorf("%d readers count as parked after all have ended", parked)
		}
	})
}

// TestRingBytesHammer: readers that poll all the time, of a ring that evicts for
// bytes, in the very blocks that are read.
func TestRingBytesHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const readers, last = 2, 50_000
		r, err := NewRing(RingOptions{Slots: 1024, MaxBytes: 12 * 1000})
		if err != nil {
			t.Fatal(err)
		}
		value := make([]byte, 1000)
		var wg sync.WaitGroup
		for i := range readers {
			c := r.Cursor(0)
			wg.Go(func() {
				defer c.Close()
				var s tally
				buf := make([]*Event, 0, 1+20*i)
				for s.through < last && !t.Failed() {
					for _, e := range c.Poll(buf[:0]) {
						if err := s.add(e); err != nil {
							t.Errorf("reader %d: %v", i, err)
							return
						}
					}
					runtime.Gosched()
				}
				if err := s.whole(last); err != nil {
					t.Errorf("reader %d: %v", i, err)
				}
			})
		}
		for revision := uint64(1); revision <= last; revision++ {
			for _, e := range batchOf(revision, make([]string, 1+rand.N(3))...) {
				e.Value = value[:rand.N(len(value))]
				r.Push(e)
			}
			r.Flush()
		}
		wg.Wait()
	})
}

// TestRingStartHammer: a cursor that is made while the writer is at work, at any
// revision, is told exactly what it misses.
func TestRingStartHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		r := newTestRing(t, 8)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for revision := uint64(1); ; revision++ {
				select {
				case <-stop:
					return
				default:
				}
				r.pushAll(revision, revision)
				if revision%3 == 0 {
					r.Flush()
					runtime.Gosched()
				}
			}
		})
		for range 5000 {
			after := r.Revision()
			after -= min(after, rand.N(uint64(16)))
			c := r.Cursor(after)
			s := tally{through: after}
			for _, e := range c.Poll(make([]*Event, 0, 8)) {
				if err := s.add(e); err != nil {
					t.Error(err)
				}
			}
			c.Close()
		}
		close(stop)
		wg.Wait()
	})
}

// TestRingMovesTailFirst: whoever finds a slot changed must find a tail beyond
// its position, or a reader that was lapped would have nowhere to go.
func TestRingMovesTailFirst(t *testing.T) {
	r := newTestRing(t, 8)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for revision := uint64(1); revision < 200_000; revision += 4 {
			for _, e := range batchOf(revision, "a", "b", "c", "d") {
				r.Push(e)
			}
			r.Flush()
		}
	})
	c := r.Cursor(0)
	defer c.Close()
	for running := true; running; {
		select {
		case <-stop:
			running = false
		default:
		}
		tail, head := r.tail.Load(), r.head.Load()
		for pos := tail; pos < head; pos++ {
			if c.load(pos) == nil && r.tail.Load() <= pos {
				t.Fatalf("position %d is gone, and the tail is %d", pos, r.tail.Load())
			}
		}
	}
	wg.Wait()
}
