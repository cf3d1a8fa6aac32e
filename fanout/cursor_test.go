package fanout

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestCursorNextMakesRoom: a buffer with none to spare is no reason to go round for
// ever.
func TestCursorNextMakesRoom(t *testing.T) {
	r := newTestRing(t, 4)
	c := r.Cursor(0)
	defer c.Close()
	r.Push(change("a", 1))
	r.Push(change("a", 2))
	r.Flush()
	var got []*Event
	for len(got) < 2 {
		var err error
		if got, err = c.Next(t.Context(), got[:len(got):len(got)]); err != nil {
			t.Fatal(err)
		}
	}
	wantEvents(t, got, 1, 2)
}

func TestCursorNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRing(t, 4)
		c := r.Cursor(0)
		defer c.Close()
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		var got []*Event
		var err error
		next := func() { got, err = c.Next(ctx, make([]*Event, 0, 4)) }

		go next()
		synctest.Wait()
		if r.parked.Load() != 1 {
			t.Fatalf("%d readers are parked, want 1", r.parked.Load())
		}
		r.Push(change("a", 1))
		synctest.Wait()
		if got != nil {
			t.Fatalf("Next gave %v, which was not flushed", revisions(got))
		}
		r.Flush()
		synctest.Wait()
		if len(got) != 1 || got[0].Revision != 1 || err != nil {
			t.Fatalf("Next gave %v, %v", revisions(got), err)
		}

		go next()
		synctest.Wait()
		cancel(enough)
		synctest.Wait()
		if len(got) != 0 || !errors.Is(err, enough) {
			t.Fatalf("Next gave %v, %v, want the context's cause", revisions(got), err)
		}
		if r.parked.Load() != 0 {
			t.Fatalf("%d readers are parked after all have left", r.parked.Load())
		}
	})
}

// TestCursorSurvivesSpuriousSignal: a signal that comes late, when its reason
// has been dealt with, must not leave the cursor's announcement behind.
func TestCursorSurvivesSpuriousSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRing(t, 4)
		c := r.Cursor(0)
		defer c.Close()
		c.wake <- struct{}{}
		var got []*Event
		go func() { got, _ = c.Next(t.Context(), make([]*Event, 0, 4)) }()
		synctest.Wait()
		if got != nil || r.parked.Load() != 1 {
			t.Fatalf("Next gave %v with %d parked, want it to wait", revisions(got), r.parked.Load())
		}
		r.Push(change("a", 1))
		r.Flush()
		synctest.Wait()
		if len(got) != 1 || r.parked.Load() != 0 {
			t.Fatalf("Next gave %v with %d parked", revisions(got), r.parked.Load())
		}
	})
}

// TestParkedIsCounted: while a cursor's flag is up, the writer must find a count
// that includes it, or another cursor's wake-up takes it from the count and the
// next one that parks is overlooked. A flag goes up once in a call of wait, so
// what is seen up twice within one call was up all the time.
func TestParkedIsCounted(t *testing.T) {
	r := newTestRing(t, 4)
	c := r.Cursor(0)
	defer c.Close()
	const waits = 500_000
	var calls atomic.Uint64 // begun and ended: odd while one is under way
	var reader sync.WaitGroup
	reader.Go(func() {
		for range waits {
			c.wake <- struct{}{} // an old signal, so that it does not really wait
			calls.Add(1)
			if err := c.wait(context.Background()); err != nil {
				t.Error(err)
			}
			calls.Add(1)
		}
	})
	for call := uint64(0); call < 2*waits; call = calls.Load() {
		if !c.parked.Load() {
			continue
		}
		count := r.parked.Load()
		if c.parked.Load() && call == calls.Load() && call%2 == 1 && count != 1 {
			t.Errorf("a cursor is parked, and %d are counted", count)
			break
		}
	}
	reader.Wait()
}

// TestClosedCursorIsForgotten: the writer stops looking for it.
func TestClosedCursorIsForgotten(t *testing.T) {
	r := newTestRing(t, 4)
	a, b := r.Cursor(0), r.Cursor(0)
	a.Close()
	if list := *r.cursors.Load(); len(list) != 1 || list[0] != b {
		t.Fatalf("the ring knows %d cursors, want the other one", len(list))
	}
	b.Close()
	b.Close()
	if list := *r.cursors.Load(); len(list) != 0 {
		t.Fatalf("the ring knows %d cursors, want none", len(list))
	}
}

// TestCursorStartsExactly: revisions 10, 20, .. 90 were pushed, two of each, and
// the last eight events are held. A reader misses something only if one of the
// revisions above its own is gone.
func TestCursorStartsExactly(t *testing.T) {
	r := newTestRing(t, 8)
	var held []int64
	for rev := int64(10); rev <= 90; rev += 10 {
		for _, e := range batchOf(uint64(rev), "a", "b") {
			r.Push(e)
		}
		if rev > 50 {
			held = append(held, rev, rev)
		}
	}
	r.Flush()
	for after := range int64(100) {
		want := []int64{}
		if after < 50 {
			want = append(want, -(after + 1), -50)
		}
		for _, rev := range held {
			if rev > after {
				want = append(want, rev)
			}
		}
		wantPoll(t, r.Cursor(uint64(after)), want...)
	}
}

func TestCursorAheadOfRing(t *testing.T) {
	r := newTestRing(t, 4)
	c := r.Cursor(7)
	r.pushAll(1, 6)
	r.Flush()
	wantPoll(t, c)
	r.pushAll(7, 9)
	r.Flush()
	wantPoll(t, c, 8, 9)
	if c.Last() != 9 {
		t.Fatalf("Last is %d, want 9", c.Last())
	}
}

// TestSpinning: with one processor it would only keep the writer from running.
func TestSpinning(t *testing.T) {
	r := newTestRing(t, 4)
	c := r.Cursor(0)
	c.spin = time.Microsecond
	for _, n := range []int{1, 2} {
		before := runtime.GOMAXPROCS(n)
		if c.spinning(t.Context()) {
			t.Errorf("with %d processors it found something in an empty ring", n)
		}
		runtime.GOMAXPROCS(before)
	}
	r.Push(change("a", 1))
	r.Flush()
	for _, n := range []int{1, 2} {
		before := runtime.GOMAXPROCS(n)
		if found := c.spinning(t.Context()); found != (n > 1) {
			t.Errorf("with %d processors it looked: %v", n, found)
		}
		runtime.GOMAXPROCS(before)
	}
}
