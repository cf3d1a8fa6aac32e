package fanout

import (
	"testing"

	"pgregory.net/rapid"
)

// TestBufferModel offers single events, batches and losses in any order, and
// takes in between, also while a batch is on its way.
func TestBufferModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		b, m := &buffer{limit: limit}, &mailbox{limit: limit}
		var l ledger
		revision, dropped := uint64(0), 0
		offered := make(map[uint64]int) // events of a revision
		step := func() uint64 {
			revision += rapid.Uint64Range(1, 3).Draw(t, "step")
			return revision
		}
		put := func(e *Event) {
			got, want := b.put(e), m.put(e)
			if got != want {
				t.Fatalf("put of revision %d dropped %d events, want %d", e.Revision, got, want)
			}
			offered[e.Revision]++
			dropped += got
		}
		take := func() bool {
			ready := b.ready()
			got, want := b.take(), m.take()
			if !same(got, want) || ready != (got != nil) {
				t.Fatalf("take gave %+v, want %+v; ready said %v", got, want, ready)
			}
			if got != nil {
				l.add(t, got)
			}
			return got != nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(*rapid.T) { put(change("k", step())) },
			"batch": func(t *rapid.T) {
				keys := make([]string, rapid.IntRange(2, limit+2).Draw(t, "size"))
				for _, e := range batchOf(step(), keys...) {
					put(e)
					for range rapid.IntRange(0, 2).Draw(t, "takes") {
						take()
					}
				}
				b.commit()
				m.commit()
			},
			"lose": func(*rapid.T) {
				from, to := step(), step()
				b.lose(from, to)
				m.lose(from, to)
			},
			"take": func(*rapid.T) { take() },
			"":     func(t *rapid.T) { checkSlots(t, b) },
		})
		for take() {
		}
		checkDrained(t, b)
		lost := 0
		for revision, n := range offered {
			if l.covers(revision) {
				lost += n
			}
		}
		if lost != dropped || l.received+dropped != total(offered) {
			t.Fatalf("received %d, dropped %d, markers cover %d, of %d", l.received, dropped, lost, total(offered))
		}
	})
}

func total(offered map[uint64]int) (n int) {
	for _, events := range offered {
		n += events
	}
	return n
}

// checkSlots: the bound holds, and no slot keeps what was taken or dropped.
func checkSlots(t rapid.TB, b *buffer) {
	t.Helper()
	held := b.n + b.staged
	if held > b.limit || len(b.ring) > b.limit {
		t.Fatalf("%d of %d slots are in use, the limit is %d", held, len(b.ring), b.limit)
	}
	used := 0
	for _, e := range b.ring {
		if e != nil {
			used++
		}
	}
	if used != held {
		t.Fatalf("%d slots hold an event, want %d", used, held)
	}
	if held == 0 {
		checkDrained(t, b)
	}
}

// checkDrained: a watcher with nothing to take costs no memory beside itself.
func checkDrained(t rapid.TB, b *buffer) {
	t.Helper()
	if len(b.ring) > 0 && &b.ring[0] != &b.inline[0] || b.inline[0] != nil {
		t.Fatalf("an empty buffer holds %d slots of its own", len(b.ring))
	}
}

// TestBufferMarkerNeedsRoom: with one slot free, an event behind a gap would
// push its marker out.
func TestBufferMarkerNeedsRoom(t *testing.T) {
	b := &buffer{limit: 3}
	for revision := uint64(1); revision <= 5; revision++ {
		b.put(change("k", revision))
	}
	b.take()
	b.put(change("k", 6)) // one slot: still lost
	b.take()
	b.put(change("k", 7)) // two: marker and event
	var got []*Event
	for b.ready() {
		got = append(got, b.take())
	}
	wantEvents(t, got, 3, -4, -6, 7)
}

// TestBufferLateBatch: what is left of a batch that was lost is lost as well,
// though there is room by now and the consumer knows of the loss.
func TestBufferLateBatch(t *testing.T) {
	b := &buffer{limit: 2}
	events := batchOf(3, "a", "b", "c", "d")
	for _, e := range events[:3] {
		b.put(e)
	}
	if marker := b.take(); !same(marker, lagged(3, 3)) {
		t.Fatalf("take gave %+v, want the marker of revision 3", marker)
	}
	if dropped := b.put(events[3]); dropped != 1 {
		t.Fatalf("the rest of the batch: %d dropped, want 1", dropped)
	}
	b.commit()
	if e := b.take(); e != nil {
		t.Fatalf("take gave %+v, want nothing: the marker covered it", e)
	}
}
