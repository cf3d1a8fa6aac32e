package fanout

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// frontModel says what a front must put into its ring, from the promises alone.
type frontModel struct {
	ring     *ringModel
	waiting  []*modelBatch // accepted, in the order of arrival
	held     bool          // whoever is at work is not running
	revision uint64
	dropped  int
}

// modelBatch is what was staged and flushed together; a marker if it was lost.
type modelBatch struct {
	source uint16
	groups [][]*Event
	lost   bool
	last   uint64
}

func (b *modelBatch) size() (events int, bytes int64) {
	if b.lost {
		return 0, 0
	}
	for _, group := range b.groups {
		events += len(group)
		for _, e := range group {
			bytes += e.bytes()
		}
	}
	return events, bytes
}

func (m *frontModel) size() (events int, bytes int64) {
	for _, b := range m.waiting {
		n, size := b.size()
		events += n
		bytes += size
	}
	return events, bytes
}

func (m *frontModel) flush(b *modelBatch) {
	if len(b.groups) == 0 {
		return
	}
	n, size := b.size()
	events, bytes := m.size()
	alone := bytes == 0 && len(b.groups) == 1
	if events+n > m.ring.slots || bytes+size > m.ring.maxBytes && !alone {
		b.lost = true
		m.dropped += n
		for _, other := range slices.Backward(m.waiting) {
			if other.source != b.source {
				continue
			}
			if other.lost {
				other.last = b.last
				return
			}
			break
		}
	}
	m.waiting = append(m.waiting, b)
	m.publish()
}

// publish numbers what waits and puts it into the ring.
func (m *frontModel) publish() {
	if m.held {
		return
	}
	for _, b := range m.waiting {
		if b.lost {
			m.revision++
			marker := lagged(m.revision, m.revision)
			marker.Source, marker.SourceRevision = b.source, b.last
			m.ring.add(marker)
			continue
		}
		for _, group := range b.groups {
			m.revision++
			if e := group[0]; e.Op == Reset {
				e.Revision = m.revision // the front makes one of its own
			}
			m.ring.add(group...)
		}
	}
	m.waiting = nil
	m.ring.published = len(m.ring.groups)
}

// modelProducer is a producer beside what it has staged.
type modelProducer struct {
	*Producer
	staged   *modelBatch
	revision uint64
}

func (p *modelProducer) push(group []*Event) {
	for _, e := range group {
		p.Push(e)
	}
	p.stage(group)
}

func (p *modelProducer) stage(group []*Event) {
	p.staged.groups = append(p.staged.groups, group)
	p.staged.last = p.revision
}

func (p *modelProducer) take() *modelBatch {
	b := p.staged
	p.staged = &modelBatch{source: p.source}
	return b
}

// sameOrigin reports whether a receiver got what was expected, from whom it was
// expected. A marker of what fell off the ring is of nobody.
func sameOrigin(got, want *Event) bool {
	return same(got, want) && got.Source == want.Source && got.SourceRevision == want.SourceRevision
}

// TestFrontModel drives a front with everything that may happen to it in one
// goroutine and predicts, event by event, what readers get.
func TestFrontModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &frontModel{ring: &ringModel{
			slots:    1 << rapid.IntRange(0, 4).Draw(t, "slots"),
			maxBytes: rapid.SampledFrom([]int64{1, 600, 1500, 1 << 20}).Draw(t, "bytes"),
		}}
		r, err := NewRing(RingOptions{Slots: m.ring.slots, MaxBytes: m.ring.maxBytes})
		if err != nil {
			t.Fatal(err)
		}
		f := newTestFront(t, r)
		var producers []*modelProducer
		for range rapid.IntRange(1, 4).Draw(t, "producers") {
			p := &modelProducer{Producer: newTestProducer(t, f)}
			p.take()
			producers = append(producers, p)
		}
		any := func(t *rapid.T) *modelProducer {
			p := rapid.SampledFrom(producers).Draw(t, "producer")
			return p
		}
		sized := func(t *rapid.T, group []*Event) []*Event {
			for _, e := range group {
				e.Value = make([]byte, rapid.IntRange(0, 400).Draw(t, "size"))
			}
			return group
		}
		c := r.Cursor(0)
		var order tally
		origin := newStrands()
		var last uint64
		poll := func(t *rapid.T, room int) int {
			from := last
			var want []*Event
			want, last = m.ring.poll(from, room)
			got := c.Poll(make([]*Event, 0, room))
			if !slices.EqualFunc(got, want, sameOrigin) {
				t.Fatalf("after %d it read %v %v, want %v %v", from, revisions(got), origins(got), revisions(want), origins(want))
			}
			for _, e := range got {
				if err := order.add(e); err != nil {
					t.Fatal(err)
				}
				if err := origin.add(e); err != nil {
					t.Fatal(err)
				}
			}
			return len(got)
		}
		release := func() {
			if m.held {
				m.held = false
				f.resume()
				m.publish()
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				p := any(t)
				for range rapid.IntRange(1, 4).Draw(t, "count") {
					p.revision++
					p.push(sized(t, []*Event{change("k", p.revision)}))
				}
			},
			"batch": func(t *rapid.T) {
				p := any(t)
				p.revision++
				p.push(sized(t, batchOf(p.revision, make([]string, rapid.IntRange(2, 18).Draw(t, "count"))...)))
			},
			"flush": func(t *rapid.T) {
				p := any(t)
				p.Flush()
				m.flush(p.take())
			},
			"reset": func(t *rapid.T) {
				p := any(t)
				p.revision++
				p.stage([]*Event{{Op: Reset, Source: p.source, SourceRevision: p.revision}})
				p.Reset(p.revision)
				m.flush(p.take())
			},
			"hold": func(*rapid.T) {
				if !m.held {
					f.hold()
					m.held = true
				}
			},
			"round": func(*rapid.T) {
				if m.held {
					f.round()
					m.held = false
					m.publish()
					m.held = true
				}
			},
			"release": func(*rapid.T) { release() },
			"poll":    func(t *rapid.T) { poll(t, rapid.IntRange(1, 20).Draw(t, "room")) },
			"": func(t *rapid.T) {
				m.ring.check(t, r)
				events, bytes := m.size()
				if f.events.Load() != int64(events) || f.bytes.Load() != bytes || f.waitingBatches() != len(m.waiting) {
					t.Fatalf("%d batches of %d events and %d bytes wait; want %d, %d, %d",
						f.waitingBatches(), f.events.Load(), f.bytes.Load(), len(m.waiting), events, bytes)
				}
				if f.Dropped() != uint64(m.dropped) {
					t.Fatalf("Dropped is %d, want %d", f.Dropped(), m.dropped)
				}
			},
		})
		for _, p := range producers {
			p.Flush()
			m.flush(p.take())
		}
		release()
		for poll(t, 20) > 0 {
		}
		if err := order.whole(r.Revision()); err != nil {
			t.Fatal(err)
		}
		for _, p := range producers {
			if err := origin.reach(p.source, p.revision, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}
