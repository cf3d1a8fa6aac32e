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
}

// add records a revision. A batch of more events than slots becomes a marker.
func (m *ringModel) add(group ...*Event) {
	if len(group) > m.slots {
		group = []*Event{lagged(group[0].Revision, group[0].Revision)}
	}
	m.groups = append(m.groups, group)
}

// held returns the first group that is kept: as many of the newest ones as fit.
func (m *ringModel) held() int {
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
		if i == held && i > 0 && m.groups[i-1][0].Revision > last && !group[0].resetsAll() {
			marker := lagged(last+1, group[0].Revision-1)
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
		m := &ringModel{
			slots:    1 << rapid.IntRange(0, 4).Draw(t, "slots"),
			maxBytes: rapid.SampledFrom([]int64{1, 600, 1500, 1 << 20}).Draw(t, "bytes"),
		}
		r, err := NewRing(RingOptions{Slots: m.slots, MaxBytes: m.maxBytes})
		if err != nil {
			t.Fatal(err)
		}
		revision := uint64(0)
		step := func() uint64 {
			revision += rapid.Uint64Range(1, 3).Draw(t, "step")
			return revision
		}
		push := func(group []*Event) {
			m.add(group...)
			for _, e := range group {
				e.Value = make([]byte, rapid.IntRange(0, 400).Draw(t, "size"))
				r.Push(e)
			}
		}
		var readers []*reader
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "count") {
					push([]*Event{change("k", step())})
				}
			},
			"batch": func(t *rapid.T) {
				keys := make([]string, rapid.IntRange(2, 18).Draw(t, "count"))
				push(batchOf(step(), keys...))
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
	// What was evicted to make room stays in its slot until that is needed, and
	// counts for so long; what was evicted for its bytes does not.
	var bytes int64
	held := 0
	for i := range r.slots {
		if e := r.slots[i].Load(); e != nil {
			held++
			bytes += e.bytes()
		}
	}
	if r.bytes != bytes {
		t.Fatalf("the ring counts %d bytes, its slots hold %d", r.bytes, bytes)
	}
	if bytes > r.maxBytes && r.oldest() < r.group {
		t.Fatalf("the ring holds %d bytes, the limit is %d", bytes, r.maxBytes)
	}
	if least, stale := int(r.next-r.first), int(r.first-r.oldest()); held < least || held > least+stale {
		t.Fatalf("%d slots hold an event, want %d to %d", held, least, least+stale)
	}
}
