package fanout

import (
	"context"
	"errors"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// stateful is a harness whose writer keeps a state, as a state machine does, and
// remembers all it wrote.
type stateful struct {
	*harness
	mu      sync.Mutex
	state   map[string]*Event
	at      uint64 // revision of state
	open    atomic.Int64
	written []*Event
}

func newStateful(t testT, slots int) *stateful {
	s := &stateful{state: make(map[string]*Event)}
	s.harness = &harness{ring: newTestRing(t, slots), registry: newTestRegistry(t, RegistryOptions{Snapshot: s.snapshot})}
	s.join(t, DispatcherOptions{Spin: -1})
	return s
}

func (s *stateful) snapshot(f Filter) (Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []*Event
	for _, key := range slices.Sorted(maps.Keys(s.state)) {
		if f.Match(key) {
			entries = append(entries, s.state[key])
		}
	}
	s.open.Add(1)
	return Snapshot{
		Revision: s.at,
		Next: func() *Event {
			if len(entries) == 0 {
				return nil
			}
			e := entries[0]
			entries = entries[1:]
			return e
		},
		Close: func() { s.open.Add(-1) },
	}, nil
}

// write changes the state and stages the event.
func (s *stateful) write(group ...*Event) {
	s.mu.Lock()
	for _, e := range group {
		s.state[e.Key] = e
		s.at = e.Revision
	}
	s.mu.Unlock()
	for _, e := range group {
		s.ring.Push(e)
	}
	s.written = append(s.written, group...)
}

// follower is a watcher that began in the past or with a state.
type follower struct {
	watcher *Watcher
	match   func(string) bool
	initial map[string]*Event // what it must begin with; nil if it does not
	got     ledger
	seen    map[uint64]int // changes received, by revision
	lossy   bool
}

func (f *follower) take(t *rapid.T) bool {
	e, ok := f.watcher.TryNext()
	if !ok {
		return false
	}
	if f.initial != nil {
		if e.Op == Progress {
			if len(f.initial) > 0 || e.Revision != f.watcher.Start() {
				t.Fatalf("the state at %d ends with %d and lacks %d keys", f.watcher.Start(), e.Revision, len(f.initial))
			}
			f.initial = nil
			return true
		}
		if f.initial[e.Key] != e {
			t.Fatalf("the state at %d has %+v for %q, want %+v", f.watcher.Start(), e, e.Key, f.initial[e.Key])
		}
		delete(f.initial, e.Key)
		return true
	}
	if e.Revision <= f.watcher.Start() {
		t.Fatalf("received revision %d, the start was %d", e.Revision, f.watcher.Start())
	}
	f.got.add(t, e)
	if e.Op != Lagged {
		if !f.match(e.Key) {
			t.Fatalf("received %q, which does not match", e.Key)
		}
		f.seen[e.Revision]++
	}
	return true
}

// TestHandOffModel begins watchers in the past and with a state, at every stage
// of what writer, dispatcher and consumer do, each step of them by hand. What a
// watcher receives and what it is told to have lost make up all that was written.
func TestHandOffModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.SampledFrom([]int{4, 16, 4096}).Draw(t, "slots")
		s := newStateful(t, slots)
		d := s.dispatcher
		var all []*follower
		keys := rapid.SampledFrom(modelKeys)
		read := func() bool {
			events := d.cursor.Poll(make([]*Event, 0, 3))
			d.deliver(events)
			d.flagSlice()
			return len(events) > 0
		}
		follow := func(t *rapid.T, start WatchOption) (*follower, error) {
			f := &follower{seen: make(map[uint64]int)}
			buffer := rapid.SampledFrom([]int{1, 3, 4096}).Draw(t, "buffer")
			f.lossy = buffer < 4096
			key := keys.Draw(t, "key")
			var err error
			if rapid.Bool().Draw(t, "exact") {
				f.match = func(k string) bool { return k == key }
				f.watcher, err = s.registry.WatchKey(t.Context(), key, start, WithBuffer(buffer))
			} else {
				pattern := widen(t, key)
				f.match = func(k string) bool { return matches(pattern, k) }
				f.watcher, err = s.registry.Watch(t.Context(), pattern, start, WithBuffer(buffer))
			}
			if err == nil {
				all = append(all, f)
			}
			return f, err
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(t, "revisions") {
					s.revision += rapid.Uint64Range(1, 3).Draw(t, "step")
					s.write(batchOf(s.revision, rapid.SliceOfNDistinct(keys, 1, 3, rapid.ID).Draw(t, "keys")...)...)
				}
				if rapid.Bool().Draw(t, "flush") {
					s.ring.Flush()
				}
			},
			"dispatch": func(*rapid.T) { read() },
			"resume": func(t *rapid.T) {
				from := rapid.Uint64Range(0, s.revision+2).Draw(t, "from")
				f, err := follow(t, FromRevision(from))
				var compacted *CompactedError
				if errors.As(err, &compacted) {
					if slots == 4096 || compacted.Oldest <= from {
						t.Fatalf("from %d: %v", from, err)
					}
					if f, err = follow(t, FromRevision(compacted.Oldest)); err != nil {
						t.Fatalf("from the oldest: %v", err)
					}
					from = compacted.Oldest
				}
				if err != nil {
					t.Fatal(err)
				}
				if f.watcher.Start() != max(from, 1)-1 {
					t.Fatalf("from %d: starts at %d", from, f.watcher.Start())
				}
			},
			"initial": func(t *rapid.T) {
				f, err := follow(t, WithInitial())
				if err != nil {
					t.Fatal(err)
				}
				if f.watcher.Start() != s.at {
					t.Fatalf("the state stands at %d, want %d", f.watcher.Start(), s.at)
				}
				f.initial = make(map[string]*Event)
				for key, e := range s.state {
					if f.match(key) {
						f.initial[key] = e
					}
				}
			},
			"take": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("nobody watches")
				}
				f := rapid.SampledFrom(all).Draw(t, "follower")
				for range rapid.IntRange(1, 5).Draw(t, "count") {
					f.take(t)
				}
			},
		})
		s.ring.Flush()
		for read() {
		}
		for d.walk.active {
			d.flagSlice()
		}
		for _, f := range all {
			for f.take(t) {
			}
			if f.watcher.inner.behind() != nil {
				t.Fatal("the consumer has read everything, and the watcher is not live")
			}
			for _, e := range s.written {
				if e.Revision <= f.watcher.Start() || !f.match(e.Key) || f.got.covers(e.Revision) {
					continue
				}
				if f.seen[e.Revision]--; f.seen[e.Revision] < 0 {
					t.Fatalf("revision %d was neither received nor told to be lost; start %d", e.Revision, f.watcher.Start())
				}
			}
			if slots == 4096 && !f.lossy && len(f.got.ranges) > 0 {
				t.Fatalf("%v were lost, with room for everything", f.got.ranges)
			}
			st := f.watcher.inner.stats()
			if st.Matched != st.Delivered+st.Dropped+st.Pending {
				t.Fatalf("the books do not balance: %+v", st)
			}
			f.watcher.Stop()
		}
		if n := s.open.Load(); n != 0 {
			t.Fatalf("%d snapshots were not closed", n)
		}
		s.wantLen(t, 0)
		if n := len(*s.ring.cursors.Load()); n != 1 {
			t.Fatalf("the ring knows %d cursors, want the dispatcher's", n)
		}
	})
}

// TestHandOffHammer: consumers go from history to the present while the writer
// and the dispatcher are at full speed, and see every revision once. The writer
// waits only for who is so far behind that it would lose what it is here to see: a
// machine that runs other threads meanwhile may leave one alone for a whole ring.
func TestHandOffHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const followers, rounds, history, live, buffer = 3, 150, 50, 20, 4096
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("an event does not come"))
		defer cancel()
		s := newStateful(t, DefaultSlots)
		s.run(t)
		for range history {
			s.revision++
			s.write(change("a", s.revision))
		}
		s.ring.Flush()
		done := make(chan struct{})
		var writer, wg sync.WaitGroup
		var at [followers]atomic.Uint64 // what each follower has received, or may still ask for
		writer.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				last := s.dispatcher.Revision()
				for i := range at {
					last = min(last, at[i].Load())
				}
				if s.revision >= last+buffer/2 {
					runtime.Gosched()
					continue
				}
				s.revision++
				s.write(change("a", s.revision))
				s.ring.Flush()
				runtime.Gosched()
			}
		})
		for i := range followers {
			wg.Go(func() {
				defer at[i].Store(math.MaxUint64 - buffer)
				for round := range rounds {
					start := WithInitial()
					now := s.ring.Revision()
					at[i].Store(now)
					if i > 0 {
						start = FromRevision(now - uint64(round%history) + 1)
					}
					w := s.watch(t, []string{">", "a", "*"}[round%3], start, WithBuffer(buffer))
					want := w.Start() + 1
					for want <= now+live {
						e, err := w.Next(ctx)
						if err != nil {
							t.Error(err)
							return
						}
						if i == 0 && e.Revision <= w.Start() {
							continue // the state
						}
						if e.Revision != want || e.Op != Put {
							t.Errorf("received %v %d, want revision %d; the watch started at %d", e.Op, e.Revision, want, w.Start())
							return
						}
						at[i].Store(want)
						want++
					}
					w.Stop()
				}
			})
		}
		wg.Wait()
		close(done)
		writer.Wait()
	})
}

// TestMarkerBeginsAboveTheStart: what lies at or below the start of a watch is no loss of
// it, while it catches up neither.
func TestMarkerBeginsAboveTheStart(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		h.put("a", "a")
		h.ring.Push(&Event{Op: Lagged, PrevRevision: 3, Revision: 10})
		h.revision = 10
		h.put("a")
		synctest.Wait()
		w := h.watchKey(t, "a", FromRevision(7))
		got := drain(w)
		if len(got) != 2 || got[0].Op != Lagged || got[0].PrevRevision != 7 || got[0].Revision != 10 {
			t.Errorf("received %v", got)
		}
	})
}
