package fanout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func newTestFront(t rapid.TB, r *Ring) *Front {
	t.Helper()
	f, err := NewFront(r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newTestProducer(t rapid.TB, f *Front) *Producer {
	t.Helper()
	p, err := f.Producer()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// hold makes it look as if a producer was at work on the ring, and descheduled.
func (f *Front) hold() {
	if !f.busy.CompareAndSwap(false, true) {
		panic("somebody is at work already")
	}
}

// resume goes on as that producer would.
func (f *Front) resume() {
	if f.leave() {
		f.combine()
	}
}

// put publishes one change on its own.
func (p *Producer) put(revision uint64) {
	p.Push(change("k", revision))
	p.Flush()
}

// origins sums up events for a comparison: source.revision, with the operation if
// it is no change.
func origins(events []*Event) []string {
	list := []string{}
	for _, e := range events {
		s := fmt.Sprintf("%d.%d", e.Source, e.SourceRevision)
		if e.Control() {
			s = e.Op.String() + " " + s
		}
		list = append(list, s)
	}
	return list
}

// wantOrigins reads all there is and compares where it is from; the front's
// revisions must follow one another.
func wantOrigins(t *testing.T, c *Cursor, want ...string) {
	t.Helper()
	s := tally{through: c.Last()}
	events := c.pollAll()
	if got := origins(events); !slices.Equal(got, append([]string{}, want...)) {
		t.Fatalf("read %v, want %v", got, want)
	}
	for _, e := range events {
		if err := s.add(e); err != nil {
			t.Fatal(err)
		}
	}
}

func wantBadOption(t *testing.T, err error, names ...string) {
	t.Helper()
	if !errors.Is(err, ErrBadOption) {
		t.Fatalf("got %v, want ErrBadOption", err)
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not say %q", err, name)
		}
	}
}

func TestNewFrontRefuses(t *testing.T) {
	_, err := NewFront(nil)
	wantBadOption(t, err, "needs a ring")
	used := newTestRing(t, 4)
	used.Push(change("k", 1))
	_, err = NewFront(used)
	wantBadOption(t, err, "has events")
	r := newTestRing(t, 4)
	newTestFront(t, r)
	_, err = NewFront(r)
	wantBadOption(t, err, "has a front already")
	late := &harness{ring: newTestRing(t, 4), registry: newTestRegistry(t, RegistryOptions{})}
	late.join(t, DispatcherOptions{After: 7})
	_, err = NewFront(late.ring)
	wantBadOption(t, err, "DispatcherOptions.After", "above revision 7")
}

func TestFrontNumbersItsProducers(t *testing.T) {
	f := newTestFront(t, newTestRing(t, 4))
	for want := range MaxProducers {
		if p := newTestProducer(t, f); int(p.source) != want+1 {
			t.Fatalf("the source is %d, want %d", p.source, want+1)
		}
	}
	_, err := f.Producer()
	wantBadOption(t, err, "65535")
}

// TestFrontRefusesThePast: its revisions mean nothing in another process or to a
// state, so nothing may begin with one.
func TestFrontRefusesThePast(t *testing.T) {
	snapshot := func(Filter) (Snapshot, error) {
		t.Error("a state was asked for")
		return Snapshot{}, nil
	}
	h := newHarness(t, 4, RegistryOptions{Snapshot: snapshot})
	p := newTestProducer(t, newTestFront(t, h.ring))
	p.put(7)
	_, err := h.registry.Watch(t.Context(), ">", FromRevision(1))
	wantBadOption(t, err, "FromRevision", "Front", "leave it out")
	_, err = h.registry.WatchKey(t.Context(), "k", WithInitial())
	wantBadOption(t, err, "WithInitial", "Front", "leave it out")
	h.wantLen(t, 0)
	if w := h.watch(t, ">"); w.Start() != 1 {
		t.Errorf("Start is %d, want 1", w.Start())
	}
	_, err = NewDispatcher(h.ring, newTestRegistry(t, RegistryOptions{}), DispatcherOptions{After: 1})
	wantBadOption(t, err, "After", "Front", "leave it out")
}

// TestFrontWatched: the whole way, with the front's revisions at its end.
func TestFrontWatched(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		f := newTestFront(t, h.ring)
		one, two := newTestProducer(t, f), newTestProducer(t, f)
		w := h.watch(t, ">")
		one.put(100)
		two.put(7)
		for _, e := range batchOf(101, "a", "b") {
			one.Push(e)
		}
		one.Push(change("k", 105))
		one.Flush()
		two.Reset(8)
		wantDrain(t, w, 1, 2, 3, 3, 4, 5)
		f.hold()
		two.put(9)
		for _, e := range batchOf(106, make([]string, 64)...) {
			one.Push(e) // one too many
		}
		one.Flush()
		two.put(10)
		f.resume()
		wantDrain(t, w, 6, -7, -7, 8)
		if s := h.registry.Stats(); s.Gaps != 1 || s.Lost != 1 || f.Dropped() != 64 {
			t.Errorf("Stats are %+v, Dropped is %d; want a gap of one revision, and 64", s, f.Dropped())
		}
	})
}

// TestFrontHandOver: what comes in while somebody is at work is published by that
// one, also if it comes in at the end; and nobody waits.
func TestFrontHandOver(t *testing.T) {
	r := newTestRing(t, 64)
	f := newTestFront(t, r)
	one, two := newTestProducer(t, f), newTestProducer(t, f)
	c := r.Cursor(0)
	f.hold() // by the first, say
	f.round()
	two.put(1)
	one.Push(change("k", 1))
	one.Flush()
	wantOrigins(t, c)
	f.resume()
	wantOrigins(t, c, "2.1", "1.1")
	if f.busy.Load() {
		t.Fatal("who was at work did not leave")
	}
	two.put(2)
	wantOrigins(t, c, "2.2")
}

// TestFrontKeepsOrder: a producer may hand in many batches while nobody publishes
// them, more than it has buffers; none takes the place of another.
func TestFrontKeepsOrder(t *testing.T) {
	r := newTestRing(t, 64)
	f := newTestFront(t, r)
	one, two := newTestProducer(t, f), newTestProducer(t, f)
	c := r.Cursor(0)
	for range 3 {
		from := one.source
		f.hold()
		var want []string
		for i := range uint64(5) {
			revision := 1 + i + 10*uint64(r.Len())
			for _, e := range batchOf(revision, "a", "b") {
				one.Push(e)
				want = append(want, fmt.Sprintf("%d.%d", from, revision))
			}
			one.Push(change("k", revision+1))
			one.Flush()
			two.put(revision)
			want = append(want, fmt.Sprintf("1.%d", revision+1), fmt.Sprintf("2.%d", revision))
		}
		f.resume()
		wantOrigins(t, c, want...)
	}
}

// TestFrontLeavesNilOut: a nil event is no change, and a batch that lacks some, the
// first one maybe, is a revision of its own all the same.
func TestFrontLeavesNilOut(t *testing.T) {
	r := newTestRing(t, 64)
	p := newTestProducer(t, newTestFront(t, r))
	c := r.Cursor(0)
	p.Push(nil)
	p.Flush()
	wantOrigins(t, c)
	p.Push(change("k", 1))
	batches := [][]*Event{batchOf(2, "a", "b", "c"), batchOf(3, "a", "b", "c"), batchOf(4, "a", "b")}
	batches[0][0], batches[1][2], batches[2][0], batches[2][1] = nil, nil, nil, nil
	for _, batch := range batches {
		for _, e := range batch {
			p.Push(e)
		}
	}
	p.Push(change("k", 5))
	p.Flush()
	first := batchOf(6, "a", "b")
	p.Push(nil)
	p.Push(first[1])
	p.Flush()
	events := c.pollAll()
	wantEvents(t, events, 1, 2, 2, 3, 3, 4, 5)
	if got, want := origins(events), []string{"1.1", "1.2", "1.2", "1.3", "1.3", "1.5", "1.6"}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
}

func TestFrontAllocatesNothing(t *testing.T) {
	r := newTestRing(t, 1024)
	p := newTestProducer(t, newTestFront(t, r))
	c := r.Cursor(0)
	defer c.Close()
	const runs, burst = 200, 64
	events := make([]Event, (runs+2)*burst)
	next := 0
	push := func() {
		for range burst {
			e := &events[next]
			e.Key, e.Op, e.Revision = "k", Put, uint64(next+1)
			p.Push(e)
			next++
		}
		p.Flush()
	}
	push()
	if n := testing.AllocsPerRun(runs, push); n != 0 {
		t.Errorf("a burst of %d pushes and a flush allocates %v times", burst, n)
	}
}

// TestFrontKeepsNoEvent: an idle producer pins none, and no large buffer.
func TestFrontKeepsNoEvent(t *testing.T) {
	f := newTestFront(t, newTestRing(t, 4*maxKept))
	p := newTestProducer(t, f)
	for _, n := range []int{3, 2 * maxKept} {
		for i := range n {
			p.Push(change("k", uint64(n+i)))
		}
		p.Flush()
		kept := p.buffers[0].events[:cap(p.buffers[0].events)]
		if len(kept) > maxKept || slices.ContainsFunc(kept, func(e *Event) bool { return e != nil }) {
			t.Errorf("after a batch of %d it keeps %d slots, not all empty", n, len(kept))
		}
	}
}
