package fanout

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// subscriber is a watcher beside what must come out of it.
type subscriber struct {
	watcher   *Watcher
	want      mailbox
	got       ledger
	match     func(key string) bool
	group     []*Event // of the revision that is being read
	stopped   bool
	matched   int
	dropped   int
	conflated int
}

// offer is what the dispatcher does with one event, written down plainly.
func (s *subscriber) offer(e *Event) {
	switch {
	case s.stopped || s.want.ended || e.Revision <= s.watcher.Start():
		return
	case e.Op == Lagged:
		s.want.lose(max(e.PrevRevision, s.watcher.Start()+1), e.Revision)
		return
	case e.Op == Reset || s.match(e.Key):
		s.group = append(s.group, e)
	}
	if e.Batch+1 < e.BatchSize || len(s.group) == 0 {
		return
	}
	dropped, conflated := s.want.put(s.group)
	if !s.want.ended {
		s.matched += len(s.group)
	}
	s.dropped += dropped
	s.conflated += conflated
	s.group = nil
}

// take compares what the consumer gets with what it must get.
func (s *subscriber) take(t *rapid.T) bool {
	got, _ := s.watcher.TryNext()
	if want := s.want.take(); !same(got, want) {
		t.Fatalf("the watcher of %q gave %+v, want %+v", s.watcher.inner.filter, got, want)
	}
	if got == nil {
		return false
	}
	if got.Revision <= s.watcher.Start() {
		t.Fatalf("received revision %d, the start was %d", got.Revision, s.watcher.Start())
	}
	s.got.add(t, got)
	return true
}

// books checks the watcher's own count of what it lost.
func (s *subscriber) books(t *rapid.T) {
	if s.watcher.Dropped() != uint64(s.dropped) {
		t.Fatalf("Dropped is %d, want %d", s.watcher.Dropped(), s.dropped)
	}
	if !s.stopped && s.matched != s.got.received+s.dropped+s.conflated {
		t.Fatalf("%d events matched, %d were received, %d dropped and %d conflated", s.matched, s.got.received, s.dropped, s.conflated)
	}
	if err := s.watcher.Err(); s.want.ended != errors.Is(err, ErrLagged) {
		t.Fatalf("the watcher's end is %v; cancelled: %v", err, s.want.ended)
	}
}

var modelKeys = []string{"a", "a.b", "a.c", "a.b.c", "b.c", "a..b", "a b", "*", "é", "."}

// subscribe registers a watcher of a key or a pattern, with any buffer.
func subscribe(t *rapid.T, r *Registry) *subscriber {
	s := &subscriber{want: mailbox{
		limit:  rapid.IntRange(1, 6).Draw(t, "buffer"),
		policy: rapid.SampledFrom(policies).Draw(t, "policy"),
	}}
	options := []WatchOption{WithPolicy(s.want.policy)}
	if s.want.policy != Conflate {
		options = append(options, WithBuffer(s.want.limit))
	}
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	var err error
	if rapid.Bool().Draw(t, "exact") {
		s.watcher, err = r.WatchKey(t.Context(), key, options...)
		s.match = func(k string) bool { return k == key }
	} else {
		pattern := widen(t, key)
		s.watcher, err = r.Watch(t.Context(), pattern, options...)
		s.match = func(k string) bool { return matches(pattern, k) }
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDispatcherModel drives the real thing with everything that may happen to
// it and predicts, event by event, what each consumer receives.
func TestDispatcherModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, testDispatcherModel) })
}

func testDispatcherModel(t *rapid.T) {
	size := rapid.SampledFrom([]int{8, 64}).Draw(t, "slots")
	h := newHarness(t, size, RegistryOptions{}).run(t)
	ring := &ringModel{slots: size, maxBytes: DefaultMaxBytes}
	// One stays, of a key that does not change: a dispatcher without watchers
	// rests, and counts nothing.
	stays := &subscriber{watcher: h.watchKey(t, "elsewhere"), want: mailbox{limit: DefaultBuffer}, match: func(string) bool { return false }}
	subscribers := []*subscriber{stays}
	var delivered, lostRevisions, gaps, events uint64

	// spared reports whether the dispatcher is left parked: what is new is all still
	// there, and for nobody.
	spared := func(fresh [][]*Event) bool {
		n := 0
		for _, group := range fresh {
			n += len(group)
		}
		spare := n <= size
		for _, s := range subscribers {
			if s.stopped || s.want.ended {
				continue
			}
			spare = spare && !s.watcher.inner.flags.have(isPattern)
			for _, group := range fresh {
				spare = spare && !slices.ContainsFunc(group, func(e *Event) bool { return e.Control() || s.match(e.Key) })
			}
		}
		return spare
	}

	// settle publishes what was staged and applies to the model what the
	// dispatcher reads of it.
	settle := func() {
		fresh := ring.groups[ring.published:]
		ring.published = len(ring.groups)
		synctest.Wait()
		var read []*Event
		read, delivered = ring.poll(delivered, 1000)
		if spared(fresh) {
			return
		}
		for _, e := range read {
			events++
			if e.Op == Lagged {
				gaps++
				lostRevisions += e.Revision - e.PrevRevision + 1
			}
			for _, s := range subscribers {
				s.offer(e)
			}
		}
	}
	live := func(t *rapid.T) *subscriber {
		return rapid.SampledFrom(subscribers).Draw(t, "subscriber")
	}
	t.Repeat(map[string]func(*rapid.T){
		"watch": func(t *rapid.T) {
			s := subscribe(t, h.registry)
			if s.watcher.Start() != h.ring.Revision() {
				t.Fatalf("the watch starts at %d, the ring stands at %d", s.watcher.Start(), h.ring.Revision())
			}
			subscribers = append(subscribers, s)
		},
		"stop": func(t *rapid.T) {
			s := live(t)
			if s == stays {
				t.Skip("it stays")
			}
			s.watcher.Stop()
			s.stopped, s.want.items = true, nil
		},
		"burst": func(t *rapid.T) {
			for range rapid.IntRange(1, 12).Draw(t, "revisions") {
				h.revision += rapid.Uint64Range(1, 3).Draw(t, "step")
				keys := rapid.SliceOfNDistinct(rapid.SampledFrom(modelKeys), 1, len(modelKeys), rapid.ID).Draw(t, "keys")
				group := batchOf(h.revision, keys...)
				ring.add(group...)
				for _, e := range group {
					h.ring.Push(e)
				}
			}
			synctest.Wait() // for the dispatcher to park
			h.ring.Flush()
			settle()
		},
		"reset": func(*rapid.T) {
			h.revision++
			ring.floor = len(ring.groups)
			ring.add(&Event{Op: Reset, Revision: h.revision})
			h.ring.Reset(h.revision)
			settle()
		},
		"take": func(t *rapid.T) {
			s := live(t)
			for range rapid.IntRange(1, 4).Draw(t, "count") {
				s.take(t)
			}
		},
	})
	want := Stats{Events: events, Gaps: gaps, Lost: lostRevisions}
	for _, s := range subscribers {
		for s.take(t) {
		}
		s.books(t)
		want.Matched += uint64(s.matched)
		want.Delivered += uint64(s.got.received)
		want.Dropped += uint64(s.dropped)
		want.Conflated += uint64(s.conflated)
		if s.want.ended {
			want.Cancelled++
		}
		s.watcher.Stop()
	}
	h.wantLen(t, 0)
	stats := h.registry.Stats()
	if stats.Matched != stats.Delivered+stats.Conflated+stats.Dropped+stats.Discarded {
		t.Fatalf("the books do not balance: %+v", stats)
	}
	// What a watcher held when it ended by Cancel was taken from it afterwards.
	stats.Delivered, stats.Discarded, want.Delivered = 0, 0, 0
	if stats != want {
		t.Fatalf("Stats are %+v, want %+v", stats, want)
	}
}
