package fanout

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// ringModel says what a ring must hold and a cursor must read, from the promises
// alone: it remembers everything that was ever pushed.
type ringModel struct {
	slots     int
	maxBytes  int64
	groups    [][]*Event // of one revision each, all that were ever pushed
	published int        // groups
	floor     int        // groups below it were taken away by Reset

	tail func() int // the first group that a ring with large blocks really keeps
}

// add records a revision; nil events are none. A batch that is announced as one of
// more events than slots becomes a marker.
func (m *ringModel) add(group ...*Event) {
	if group = given(group); len(group) == 0 {
		return
	}
	if len(group) > m.slots || int(group[0].BatchSize) > m.slots {
		group = []*Event{lagged(group[0].Revision, group[0].Revision)}
	}
	m.groups = append(m.groups, group)
}

// given returns the events that are not nil.
func given(group []*Event) (events []*Event) {
	for _, e := range group {
		if e != nil {
			events = append(events, e)
		}
	}
	return events
}

// leaveOut puts nil in the place of some events of a batch, of all maybe.
func leaveOut(t *rapid.T, batch []*Event) []*Event {
	if rapid.IntRange(0, 2).Draw(t, "whole") > 0 {
		return batch
	}
	for i := range batch {
		if rapid.Bool().Draw(t, "nil") {
			batch[i] = nil
		}
	}
	return batch
}

// held returns the first group that is kept.
func (m *ringModel) held() int {
	if m.tail != nil {
		return m.tail()
	}
	return m.fits()
}

// fits returns the first of the newest groups that fit.
func (m *ringModel) fits() int {
	first, events, bytes := len(m.groups), 0, int64(0)
	for first > m.floor {
		group := m.groups[first-1]
		events += len(group)
		for _, e := range group {
			bytes += e.bytes()
		}
		if events > m.slots || (bytes > m.maxBytes && first < len(m.groups)) {
			break
		}
		first--
	}
	return first
}

// heldEvents returns how many events are kept and published.
func (m *ringModel) heldEvents() (n int) {
	for i := m.held(); i < m.published; i++ {
		n += len(m.groups[i])
	}
	return n
}

// poll returns what a cursor that has read through last gets into a buffer of
// room events, and where it stands then.
func (m *ringModel) poll(last uint64, room int) (events []*Event, through uint64) {
	held := m.held()
	if held >= m.published {
		return nil, last // what was published is gone, and the next is staged
	}
	for i, group := range m.groups[:m.published] {
		if revision := group[0].Revision; revision <= last || i < held || len(events) >= room {
			continue
		}
		if i == held && i > 0 && m.groups[i-1][0].Revision > last {
			marker := lagged(last+1, m.groups[i-1][0].Revision)
			events, last = append(events, marker), marker.Revision
			if len(events) >= room {
				continue
			}
		}
		events, last = append(events, group...), group[0].Revision
	}
	return events, last
}

// reader is a cursor beside what the model says of it.
type reader struct {
	cursor *Cursor
	last   uint64
}

func TestRingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		testRingModel(t, &ringModel{
			slots:    1 << rapid.IntRange(0, 4).Draw(t, "slots"),
			maxBytes: rapid.SampledFrom([]int64{1, 600, 1500, 1 << 20}).Draw(t, "bytes"),
		}, 8)
	})
}

// TestRingModelBlocks: a ring whose blocks have several slots evicts a little
// more than it must, and is held to all the rest.
func TestRingModelBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := 1 << rapid.IntRange(7, 9).Draw(t, "slots")
		testRingModel(t, &ringModel{
			slots:    slots,
			maxBytes: rapid.SampledFrom([]int64{1, 10_000, 60_000, 1 << 20}).Draw(t, "bytes"),
		}, slots)
	})
}

// keptFrom finds the group at the tail of r, and checks that no more was evicted
// than a block, or a 64th of the bytes, and the rest of a revision.
func (m *ringModel) keptFrom(t *rapid.T, r *Ring) int {
	pos, kept := uint64(0), 0
	for kept < len(m.groups) && pos < r.first {
		pos += uint64(len(m.groups[kept]))
		kept++
	}
	if pos != r.first {
		t.Fatalf("the tail is %d, within the batch that ends at %d", r.first, pos)
	}
	fits := m.fits()
	if kept < fits {
		t.Fatalf("the ring keeps all from revision %d on, which is too much", m.groups[kept][0].Revision)
	}
	early, fit, bytes := 0, 0, int64(0)
	for i, group := range m.groups[fits:] {
		fit += len(group)
		if i += fits; i >= kept-1 {
			continue
		}
		for _, e := range group {
			early++
			bytes += e.bytes()
		}
	}
	if crowded := fit > m.slots-int(r.stride); early >= int(r.stride) || !crowded && bytes > r.maxBytes/64 {
		t.Fatalf("%d events of %d bytes were evicted for no reason; %d would fit", early, bytes, fit)
	}
	return kept
}

func testRingModel(t *rapid.T, m *ringModel, most int) {
	r, err := NewRing(RingOptions{Slots: m.slots, MaxBytes: m.maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	r.stride *= rapid.Uint64Range(1, min(4, r.size/r.stride)).Draw(t, "blocks evicted at a time")
	if r.stride > 1 {
		m.tail = func() int { return m.keptFrom(t, r) }
	}
	revision := uint64(0)
	step := func() uint64 {
		revision += rapid.Uint64Range(1, 3).Draw(t, "step")
		return revision
	}
	push := func(group []*Event) {
		m.add(group...)
		for _, e := range group {
			if e != nil {
				e.Value = make([]byte, rapid.IntRange(0, 400).Draw(t, "size"))
			}
			r.Push(e)
		}
	}
	var readers []*reader
	t.Repeat(map[string]func(*rapid.T){
		"push": func(t *rapid.T) {
			for range rapid.IntRange(1, most).Draw(t, "count") {
				push([]*Event{change("k", step())})
			}
		},
		"batch": func(t *rapid.T) {
			keys := make([]string, rapid.IntRange(2, most+10).Draw(t, "count"))
			push(leaveOut(t, batchOf(step(), keys...)))
		},
		"flush": func(*rapid.T) {
			r.Flush()
			m.published = len(m.groups)
		},
		"reset": func(t *rapid.T) {
			m.floor = len(m.groups)
			m.add(&Event{Op: Reset, Revision: step()})
			r.Reset(revision)
			m.published = len(m.groups)
		},
		"cursor": func(t *rapid.T) {
			after := rapid.Uint64Range(0, revision+2).Draw(t, "after")
			readers = append(readers, &reader{cursor: r.Cursor(after), last: after})
		},
		"poll": func(t *rapid.T) {
			if len(readers) == 0 {
				t.Skip("nobody reads")
			}
			rd := rapid.SampledFrom(readers).Draw(t, "reader")
			room := rapid.IntRange(1, 20).Draw(t, "room")
			from := rd.last
			var want []*Event
			want, rd.last = m.poll(from, room)
			readable := rd.cursor.readable()
			got := rd.cursor.Poll(make([]*Event, 0, room))
			if !slices.EqualFunc(got, want, same) {
				t.Fatalf("after %d it read %v, want %v", from, revisions(got), revisions(want))
			}
			if len(got) > 0 && !readable {
				t.Fatal("there was something to read, and a waiting cursor would not have known")
			}
			if rd.cursor.Last() != rd.last {
				t.Fatalf("the cursor stands at %d, want %d", rd.cursor.Last(), rd.last)
			}
		},
		"": func(t *rapid.T) { m.check(t, r) },
	})
}

// check compares what the ring says of itself, and its books.
func (m *ringModel) check(t *rapid.T, r *Ring) {
	newest := uint64(0)
	if m.published > 0 {
		newest = m.groups[m.published-1][0].Revision
	}
	if r.Revision() != newest || r.Len() != m.heldEvents() {
		t.Fatalf("Revision %d, Len %d; want %d, %d", r.Revision(), r.Len(), newest, m.heldEvents())
	}
	var bytes, counted int64
	held := uint64(0)
	for i := range r.blocks {
		b := r.blocks[i].Load()
		if n := b.readers.Load(); n != 0 {
			t.Fatalf("%d readers are in a block, and nobody reads", n)
		}
		for _, e := range b.slots {
			if e != nil {
				held++
				bytes += e.bytes()
			}
		}
		counted += r.bytes(&r.holdings[i])
	}
	if held := r.pushed - (r.limit - r.maxBytes); held != bytes || counted != bytes {
		t.Fatalf("the ring counts %d bytes, and %d in its blocks; its slots hold %d", held, counted, bytes)
	}
	if bytes > r.maxBytes && r.first < r.group {
		t.Fatalf("the ring holds %d bytes, the limit is %d", bytes, r.maxBytes)
	}
	if held != r.next-r.first || held > r.size {
		t.Fatalf("%d slots hold an event, those of %d..%d should; the ring has %d", held, r.first, r.next, r.size)
	}
}
