package fanout

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// newTestRing returns a ring of the given number of slots.
func newTestRing(t rapid.TB, slots int) *Ring {
	t.Helper()
	r, err := NewRing(RingOptions{Slots: slots})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// change returns a put of key on its own.
func change(key string, revision uint64) *Event {
	return &Event{Key: key, Op: Put, Revision: revision}
}

// batchOf returns puts of keys in one atomic batch.
func batchOf(revision uint64, keys ...string) []*Event {
	events := make([]*Event, len(keys))
	for i, key := range keys {
		events[i] = change(key, revision)
		events[i].Batch, events[i].BatchSize = uint32(i), uint32(len(keys))
	}
	return events
}

// pushAll stages changes of the revisions from..to.
func (r *Ring) pushAll(from, to uint64) {
	for revision := from; revision <= to; revision++ {
		r.Push(change("k", revision))
	}
}

// lagged is the marker of a lost range.
func lagged(from, to uint64) *Event { return &Event{Op: Lagged, PrevRevision: from, Revision: to} }

// same reports whether a receiver got what was expected: the very event, or an
// equal marker.
func same(got, want *Event) bool {
	if got == want {
		return true
	}
	return got != nil && want != nil && got.Control() && got.Op == want.Op && got.Key == "" &&
		got.Revision == want.Revision && got.PrevRevision == want.PrevRevision
}

// revisions sums up events for a comparison: a change as its revision, a Lagged
// event as the negative ends of its range.
func revisions(events []*Event) []int64 {
	list := []int64{}
	for _, e := range events {
		if e.Op == Lagged {
			list = append(list, -int64(e.PrevRevision))
			list = append(list, -int64(e.Revision))
			continue
		}
		list = append(list, int64(e.Revision))
	}
	return list
}

// pollAll returns all that the cursor can read now.
func (c *Cursor) pollAll() []*Event {
	var all []*Event
	for {
		events := c.Poll(make([]*Event, 0, 3))
		if len(events) == 0 {
			return all
		}
		all = append(all, events...)
	}
}

func wantPoll(t *testing.T, c *Cursor, want ...int64) {
	t.Helper()
	from := c.Last()
	if got := revisions(c.pollAll()); !slices.Equal(got, append([]int64{}, want...)) {
		t.Fatalf("a cursor that stood at %d read %v, want %v", from, got, want)
	}
}

func TestRingOptions(t *testing.T) {
	for _, c := range []struct {
		o     RingOptions
		slots int // 0: refused
	}{
		{RingOptions{}, DefaultSlots},
		{RingOptions{Slots: 1}, 1},
		{RingOptions{Slots: 2}, 2},
		{RingOptions{Slots: 3}, 4},
		{RingOptions{Slots: 4, MaxBytes: 1}, 4},
		{RingOptions{Slots: -1}, 0},
		{RingOptions{Slots: MaxSlots + 1}, 0},
		{RingOptions{MaxBytes: -1}, 0},
	} {
		r, err := NewRing(c.o)
		switch {
		case c.slots == 0 && !errors.Is(err, ErrBadOption):
			t.Errorf("NewRing(%+v): %v, want ErrBadOption", c.o, err)
		case c.slots > 0 && (err != nil || r.size != uint64(c.slots)):
			t.Errorf("NewRing(%+v): %v, want %d slots", c.o, err, c.slots)
		}
	}
}

func TestRingHidesWhatIsStaged(t *testing.T) {
	r := newTestRing(t, 4)
	c := r.Cursor(0)
	r.pushAll(1, 2)
	if got := c.Poll(make([]*Event, 0, 4)); len(got) != 0 || r.Len() != 0 || r.Revision() != 0 {
		t.Fatalf("before Flush: read %v, Len %d, Revision %d", revisions(got), r.Len(), r.Revision())
	}
	r.Flush()
	if r.Len() != 2 || r.Revision() != 2 {
		t.Fatalf("after Flush: Len %d, Revision %d, want 2 and 2", r.Len(), r.Revision())
	}
	wantPoll(t, c, 1, 2)
}

// TestRingFullLapUnflushed: what was published is overwritten by what is only
// staged, so for a while nothing can be read and the loss has no end yet.
func TestRingFullLapUnflushed(t *testing.T) {
	for _, staged := range []uint64{4, 5, 9} {
		r := newTestRing(t, 4)
		behind := r.Cursor(0)
		r.pushAll(1, 4)
		r.Flush()
		abreast := r.Cursor(4)
		r.pushAll(5, 4+staged)
		fresh, late := r.Cursor(0), r.Cursor(4)
		for _, c := range []*Cursor{behind, abreast, fresh, late} {
			wantPoll(t, c)
			if c.readable() {
				t.Fatal("a cursor with nothing to read would spin instead of waiting")
			}
		}
		if n := r.Len(); n != 0 {
			t.Fatalf("Len is %d while everything published is gone", n)
		}
		r.Flush()
		held := []int64{int64(staged) + 1, int64(staged) + 2, int64(staged) + 3, int64(staged) + 4}
		lost := func(from int64) []int64 {
			if from == held[0] {
				return held
			}
			return append([]int64{-from, -held[0] + 1}, held...)
		}
		wantPoll(t, behind, lost(1)...)
		wantPoll(t, fresh, lost(1)...)
		wantPoll(t, abreast, lost(5)...)
		wantPoll(t, late, lost(5)...)
	}
}

// TestRingFirstRevision: a ring that was never full has lost nothing, however
// high the first revision is.
func TestRingFirstRevision(t *testing.T) {
	const first = 1 << 40
	r := newTestRing(t, 4)
	before := r.Cursor(0)
	r.pushAll(first, first+1)
	r.Flush()
	wantPoll(t, before, first, first+1)
	wantPoll(t, r.Cursor(0), first, first+1)
	r.pushAll(3*first, 3*first+3)
	r.Flush()
	wantPoll(t, before, 3*first, 3*first+1, 3*first+2, 3*first+3)
	// The marker ends with what was lost; over a distance that does not fit, above.
	wantPoll(t, r.Cursor(first), -(first + 1), -(3*first - math.MaxUint32), 3*first, 3*first+1, 3*first+2, 3*first+3)
}

func TestRingOversizedBatch(t *testing.T) {
	r := newTestRing(t, 2)
	c := r.Cursor(0)
	r.Push(change("a", 1))
	for _, e := range batchOf(2, "a", "b", "c") {
		r.Push(e)
	}
	r.Flush()
	wantPoll(t, c, 1, -2, -2)
	r.Push(change("a", 3))
	r.Flush()
	wantPoll(t, c, 3)
}

// TestPollGivesWholeBatches: the capacity of the buffer yields to a batch, and
// what it grows to is no invitation.
func TestPollGivesWholeBatches(t *testing.T) {
	r := newTestRing(t, 8)
	c := r.Cursor(0)
	for _, e := range batchOf(1, "a", "b", "c", "d", "e") {
		r.Push(e)
	}
	r.Push(change("a", 2))
	r.Flush()
	wantEvents(t, c.Poll(make([]*Event, 0, 1)), 1, 1, 1, 1, 1)
	wantPoll(t, c, 2)
}

func TestRingWriterAllocatesNothing(t *testing.T) {
	r := newTestRing(t, 16)
	c := r.Cursor(0)
	defer c.Close()
	const runs, burst = 200, 40 // more than the ring holds: evicting counts too
	events := make([]Event, (runs+1)*burst)
	next := 0
	push := func() {
		for range burst {
			e := &events[next]
			e.Key, e.Op, e.Revision = "k", Put, uint64(next+1)
			r.Push(e)
			next++
		}
		r.Flush()
	}
	if n := testing.AllocsPerRun(runs, push); n != 0 {
		t.Errorf("a burst of %d pushes and a flush allocates %v times", burst, n)
	}
}

func wantEvents(t rapid.TB, got []*Event, want ...int) {
	t.Helper()
	list := []int64{}
	for _, revision := range want {
		list = append(list, int64(revision))
	}
	if got := revisions(got); !slices.Equal(got, list) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// TestEvictionInStrides: a ring that makes room for several events at a time
// never takes it from the revision that is being pushed, and holds nearly as many
// events as it has slots.
func TestEvictionInStrides(t *testing.T) {
	const slots, stride = 256, 4
	r := newTestRing(t, slots)
	if r.within != stride-1 || r.stride != stride {
		t.Fatalf("a block has %d slots, and %d are evicted at a time; want %d", r.within+1, r.stride, stride)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for revision := uint64(1); revision <= 5000; revision++ {
		size := 1 + random.IntN(slots)
		if revision%3 > 0 {
			size = slots - random.IntN(stride) // fills the ring alone, or nearly
		}
		group := batchOf(revision, make([]string, size)...)
		for _, e := range group {
			r.Push(e)
		}
		r.Flush()
		c := r.Cursor(revision - 1)
		got := c.Poll(make([]*Event, 0, slots))
		c.Close()
		if !slices.Equal(got, group) {
			t.Fatalf("of %d events of revision %d the ring gives %d", size, revision, len(got))
		}
	}
	single := newTestRing(t, slots)
	for revision := uint64(1); revision <= 5*slots; revision++ {
		single.Push(change("k", revision))
		single.Flush()
		if n := single.Len(); revision > slots && n < slots-stride+1 {
			t.Fatalf("the ring holds %d events of %d", n, slots)
		}
	}
}

// TestReaderKeepsItsBlock: what a reader is in the middle of stays as it is while
// the writer evicts it, for its bytes or because it has come round. Whoever comes
// then finds what is new, and the ring forgets what it evicted.
func TestReaderKeepsItsBlock(t *testing.T) {
	const slots, block, size = 256, 4, 1000
	r, err := NewRing(RingOptions{Slots: slots, MaxBytes: 3 * size})
	if err != nil {
		t.Fatal(err)
	}
	push := func(revision uint64) *Event {
		e := change("k", revision)
		e.Value = make([]byte, size-eventOverhead-len(e.Key))
		r.Push(e)
		r.Flush()
		return e
	}
	slow := r.Cursor(0)
	first := push(1)
	if got := slow.load(0); got != first {
		t.Fatalf("the first position holds %v", got)
	}
	second := push(2)
	push(3)
	push(4)
	push(5) // 1 and 2 are evicted, from the block in which the reader is
	if got := slow.load(0); got != first {
		t.Fatal("an event vanished under its reader")
	}
	if got := slow.block.slots[1]; got != second {
		t.Fatal("an event vanished under its reader")
	}
	wantPoll(t, r.Cursor(0), -1, -2, 3, 4, 5)
	if held := r.blocks[0].Load(); held == slow.block || held.slots[0] != nil || held.slots[1] != nil {
		t.Fatal("the ring refers to what it evicted")
	}
	wantPoll(t, slow, -1, -2, 3, 4, 5)

	slow.lost = false
	slow.load(slow.pos - 1)
	mine := slow.block
	seen := slices.Clone(mine.slots)
	r.limit += 1<<20 - r.maxBytes
	r.maxBytes = 1 << 20
	for revision := uint64(6); revision < 6+2*(slots+block); revision++ {
		r.Push(change("k", revision))
		r.Flush()
	}
	for i, e := range seen {
		if e != nil && mine.slots[i] != e {
			t.Fatal("a block was used again while it was read")
		}
	}
	slow.leave()
	if n := len(r.Cursor(0).pollAll()); n < slots-block {
		t.Fatalf("the ring gives %d events of %d", n, slots)
	}
}

// TestMaxBytesWithoutBound: the largest bound of bytes is one that bounds nothing.
func TestMaxBytesWithoutBound(t *testing.T) {
	r, err := NewRing(RingOptions{Slots: 1024, MaxBytes: math.MaxInt64})
	if err != nil {
		t.Fatal(err)
	}
	for revision := uint64(1); revision <= 5000; revision++ {
		r.Push(change("a", revision))
		r.Flush()
	}
	if r.Len() < 1024-1024/16 {
		t.Errorf("a ring of 1024 slots holds %d events", r.Len())
	}
}
