package fanout

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
// and the dispatcher are at full speed, and see every revision once.
func TestHandOffHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		const followers, rounds, history, live = 3, 150, 50, 20
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
		writer.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s.revision++
				s.write(change("a", s.revision))
				s.ring.Flush()
				runtime.Gosched()
			}
		})
		for i := range followers {
			wg.Go(func() {
				for round := range rounds {
					start := WithInitial()
					now := s.ring.Revision()
					if i > 0 {
						start = FromRevision(now - uint64(round%history) + 1)
					}
					w := s.watch(t, []string{">", "a", "*"}[round%3], start, WithBuffer(4096))
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

// TestCatchUpReady: a consumer that selects on Ready and drains is told of
// history, and then of what comes.
func TestCatchUpReady(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		h.put("a", "a", "a")
		synctest.Wait()
		w := h.watchKey(t, "a", FromRevision(2))
		<-w.Ready()
		wantEvents(t, drain(w), 2, 3)
		h.put("a")
		<-w.Ready()
		wantEvents(t, drain(w), 4)
		w.Stop()
		<-w.Ready()
		if w.Err() != ErrClosed {
			t.Errorf("Err is %v", w.Err())
		}
	})
}

// TestCatchUpEnds: whoever ends, a watcher that is still behind ends properly.
func TestCatchUpEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStateful(t, 64)
		s.run(t)
		for s.revision < 5 {
			s.revision++
			s.write(change(fmt.Sprint("k", s.revision), s.revision))
		}
		s.ring.Flush()
		ctx, cancel := context.WithCancelCause(t.Context())
		byContext, err := s.registry.Watch(ctx, ">", WithInitial())
		if err != nil {
			t.Fatal(err)
		}
		byStop, byDispatcher := s.watch(t, ">", WithInitial()), s.watch(t, ">", FromRevision(3))
		byContext.TryNext()
		byStop.TryNext()
		cause := errors.New("the request is over")
		cancel(cause)
		byStop.Stop()
		synctest.Wait()
		if e, ok := byContext.TryNext(); ok || byContext.Err() != cause {
			t.Errorf("after its context: %+v, %v", e, byContext.Err())
		}
		if e, ok := byStop.TryNext(); ok || byStop.Err() != ErrClosed {
			t.Errorf("after Stop: %+v, %v", e, byStop.Err())
		}
		if n := s.open.Load(); n != 0 {
			t.Errorf("%d snapshots were not closed", n)
		}
		s.stop()
		wantEvents(t, drain(byDispatcher), 3, 4, 5) // what there was may still be taken
		if _, err := byDispatcher.Next(t.Context()); err != ErrClosed {
			t.Errorf("after the dispatcher's end: %v", err)
		}
	})
}

// TestCatchUpOvertaken: a consumer that does not come is overtaken, and told.
func TestCatchUpOvertaken(t *testing.T) {
	bubble(t, 4, func(t *testing.T, h *harness) {
		h.put("a", "a")
		w, cancelled := h.watchKey(t, "a", FromRevision(1)), h.watchKey(t, "a", FromRevision(1), WithPolicy(Cancel))
		h.put("a", "a", "a", "a")
		wantDrain(t, w, -1, -2, 3, 4, 5, 6)
		h.put("a")
		wantDrain(t, w, 7)
		wantDrain(t, cancelled)
		if !errors.Is(cancelled.Err(), ErrLagged) {
			t.Errorf("Err is %v, want ErrLagged", cancelled.Err())
		}
	})
}

// TestStartRefused: what conflicts, or cannot be had, is refused by name and
// registers nothing.
func TestStartRefused(t *testing.T) {
	h := newHarness(t, 4, RegistryOptions{})
	unbound := newTestRegistry(t, RegistryOptions{})
	refused := errors.New("no state today")
	failing := &harness{ring: h.ring, registry: newTestRegistry(t, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) { return Snapshot{}, refused }})}
	failing.join(t, DispatcherOptions{})
	empty := &harness{ring: h.ring, registry: newTestRegistry(t, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) { return Snapshot{}, nil }})}
	empty.join(t, DispatcherOptions{})
	h.put("a", "a", "a", "a", "a", "a") // 3 to 6 are held
	for _, c := range []struct {
		name    string
		r       *Registry
		options []WatchOption
		want    error
	}{
		{"both", h.registry, []WatchOption{FromRevision(5), WithInitial()}, ErrBadOption},
		{"no snapshot", h.registry, []WatchOption{WithInitial()}, ErrBadOption},
		{"snapshot fails", failing.registry, []WatchOption{WithInitial()}, refused},
		{"snapshot without Next", empty.registry, []WatchOption{WithInitial()}, ErrBadOption},
		{"no dispatcher", unbound, []WatchOption{FromRevision(5)}, ErrBadOption},
		{"conflated buffer", h.registry, []WatchOption{WithPolicy(Conflate), WithBuffer(3)}, ErrBadOption},
		{"no such policy", h.registry, []WatchOption{WithPolicy(Cancel + 1)}, ErrBadOption},
		{"no operation", h.registry, []WatchOption{WithOps()}, ErrBadOption},
		{"control operation", h.registry, []WatchOption{WithOps(Put, Lagged)}, ErrBadOption},
		{"nil option", h.registry, []WatchOption{nil}, ErrBadOption},
	} {
		if _, err := c.r.WatchKey(t.Context(), "a", c.options...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	_, err := h.registry.WatchKey(t.Context(), "a", FromRevision(2))
	var compacted *CompactedError
	if !errors.As(err, &compacted) || *compacted != (CompactedError{Revision: 2, Oldest: 3}) {
		t.Errorf("from 2: %v", err)
	}
	h.wantLen(t, 0)
}

// TestResumeAfterReset: what lies below a replaced state cannot be started from.
func TestResumeAfterReset(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		h.put("a", "a")
		h.revision = 10
		h.ring.Reset(10)
		h.put("a")
		_, err := h.registry.WatchKey(t.Context(), "a", FromRevision(10))
		var compacted *CompactedError
		if !errors.As(err, &compacted) || compacted.Oldest != 11 {
			t.Errorf("from 10: %v", err)
		}
		wantDrain(t, h.watchKey(t, "a", FromRevision(11)), 11)
	})
}

// TestOps: other operations are left out, also of a batch, and count nowhere.
func TestOps(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		deletes := h.watch(t, ">", WithOps(Delete, Expire))
		group := batchOf(1, "a", "b", "c")
		group[1].Op = Delete
		for _, e := range group {
			h.ring.Push(e)
		}
		h.revision = 1
		h.put("a")
		wantDrain(t, deletes, 1)
		if s := h.registry.Slowest(10); len(s) != 1 || s[0].Matched != 1 || s[0].Delivered != 1 {
			t.Errorf("the books say %+v", s)
		}
	})
}

// TestInitialWhileAllIsReplaced: between the state and the first look at the ring
// everything published is evicted, and what replaces it is not published. There
// is a loss, of which the dispatcher knows nothing: it had read it all.
func TestInitialWhileAllIsReplaced(t *testing.T) {
	h := &harness{ring: newTestRing(t, 4)}
	h.registry = newTestRegistry(t, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
		at := h.revision
		h.put("a", "a") // read by the dispatcher
		h.dispatcher.deliver(h.dispatcher.cursor.Poll(make([]*Event, 0, 8)))
		h.push("a", "a", "a", "a", "a")
		return Snapshot{Revision: at, Next: func() *Event { return nil }}, nil
	}})
	h.join(t, DispatcherOptions{})
	h.put("a")
	w := h.watchKey(t, "a", WithInitial())
	if e, ok := w.TryNext(); !ok || e.Op != Progress || e.Revision != 1 {
		t.Fatalf("the state ends with %+v", e)
	}
	wantEvents(t, drain(w))
	h.ring.Flush()
	h.dispatcher.deliver(h.dispatcher.cursor.Poll(make([]*Event, 0, 8)))
	wantEvents(t, drain(w), -2, -4, 5, 6, 7, 8)
}

// TestResumeInReplay: history that is still to be replayed, which the dispatcher
// leaves out, comes to those who asked for it.
func TestResumeInReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{ring: newTestRing(t, 64), registry: newTestRegistry(t, RegistryOptions{})}
		h.join(t, DispatcherOptions{After: 5, Spin: -1})
		h.run(t)
		h.put("a", "a", "a")
		w := h.watchKey(t, "a", FromRevision(2))
		wantDrain(t, w, 2, 3)
		received := make(chan *Event)
		go func() {
			defer close(received)
			for range 3 {
				e, err := w.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				received <- e
			}
		}()
		synctest.Wait()
		h.put("a", "a") // still history
		wantEvents(t, []*Event{<-received, <-received}, 4, 5)
		synctest.Wait()
		h.put("a")
		wantEvents(t, []*Event{<-received}, 6)
	})
}
