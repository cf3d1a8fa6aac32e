package fanout

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// TestSnapshotCallsItsWatcher: while an entry is read, every method answers, and
// receiving says that it cannot be. Then all goes on.
func TestSnapshotCallsItsWatcher(t *testing.T) {
	for name, consume := range consumers {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, 3)
			calls := func() {
				if e, ok := s.w.TryNext(); ok {
					t.Errorf("TryNext gives %+v", e)
				}
				if e, err := s.w.Next(context.Background()); !errors.Is(err, ErrWithinSnapshot) {
					t.Errorf("Next gives %+v, %v", e, err)
				}
				if err := s.w.Err(); err != nil {
					t.Errorf("Err is %v", err)
				}
				if s.w.Dropped() != 0 || s.w.Start() != 1 {
					t.Errorf("Dropped is %d, Start %d", s.w.Dropped(), s.w.Start())
				}
				if n := s.registry.Stats().Watchers; n != 1 || len(s.registry.Slowest(9)) != 1 || s.registry.Len() != 1 {
					t.Errorf("%d watchers", n)
				}
				s.watchKey(t, "b").Stop()
			}
			s.next = func(int) { calls() }
			s.close = calls
			got := finishes(t, func() []*Event {
				state := consume(s.w, 4)
				s.put("a")
				return append(state, consume(s.w, 1)...)
			})
			wantEvents(t, got, 1, 1, 1, 1, 2)
			if got[3].Op != Progress || s.closed.Load() != 1 {
				t.Errorf("the state ends with %v, and was closed %d times", got[3].Op, s.closed.Load())
			}
			s.w.Stop()
			s.wantLen(t, 0)
		})
	}
}

// TestNextWithinAnotherSnapshot: it waits as anywhere if nobody reads the state that
// it waits for.
func TestNextWithinAnotherSnapshot(t *testing.T) {
	s := newScripted(t, 1)
	other := s.watchKey(t, "b")
	s.next = func(entry int) {
		if entry == 1 {
			var writer sync.WaitGroup
			writer.Go(func() { s.put("b") })
			defer writer.Wait()
			if e, err := other.Next(context.Background()); err != nil || e.Revision != 2 {
				t.Errorf("received %+v, %v", e, err)
			}
		}
	}
	wantEvents(t, finishes(t, func() []*Event { return drain(s.w) }), 1, 1)
}

// readHistory makes the caller the consumer that is at the history that w catches up
// with, until it calls handBack.
func readHistory(w *Watcher) *catchUp {
	w.inner.mu.Lock()
	defer w.inner.mu.Unlock()
	w.inner.flags.put(reading, true)
	return w.inner.behind()
}

// TestNextWithinWaits: what another consumer is at is no state, or who calls is within
// no function of one. So Next waits, here until its context ends.
func TestNextWithinWaits(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	t.Run("for history", func(t *testing.T) {
		s := newScripted(t, 1)
		other := s.watchKey(t, "b", FromRevision(1))
		c := readHistory(other)
		s.next = func(int) {
			if _, err := other.Next(ctx); err != gone {
				t.Errorf("Next gives %v", err)
			}
		}
		wantEvents(t, finishes(t, func() []*Event { return drain(s.w) }), 1, 1)
		other.inner.handBack(c, nil)
	})
	t.Run("in RegistryOptions.Snapshot", func(t *testing.T) {
		begun, release := make(chan struct{}), make(chan struct{})
		var first *Watcher
		h := newHarness(t, 4, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
			if first != nil {
				if _, err := first.Next(ctx); err != gone {
					t.Errorf("Next gives %v", err)
				}
			}
			return Snapshot{Next: func() *Event {
				close(begun)
				<-release
				return nil
			}}, nil
		}})
		first = h.watchKey(t, "a", WithInitial())
		var reader sync.WaitGroup
		reader.Go(func() { first.TryNext() })
		<-begun
		h.watchKey(t, "a", WithInitial()).Stop()
		close(release)
		reader.Wait()
	})
}

// TestStopWithinSnapshot: whatever function of the state stops its watcher, and
// however that is received from, it returns, twice, and nothing more is received.
func TestStopWithinSnapshot(t *testing.T) {
	for name, consume := range consumers {
		for at, want := range map[string][]int{"first": {}, "second": {1}, "end": {1, 1}, "close": {1, 1}} {
			t.Run(name+", "+at, func(t *testing.T) {
				s := newScripted(t, 2)
				stop := func() {
					s.w.Stop()
					s.w.Stop()
				}
				s.next = func(entry int) {
					if at == map[int]string{1: "first", 2: "second", 3: "end"}[entry] {
						stop()
						if n := s.closed.Load(); n != 0 {
							t.Errorf("the state was closed %d times while it is read", n)
						}
					}
				}
				if at == "close" {
					s.close = stop
				}
				wantEvents(t, finishes(t, func() []*Event { return consume(s.w, 9) }), want...)
				if s.w.Err() != ErrClosed {
					t.Errorf("Err is %v", s.w.Err())
				}
				finishes(t, func() any { s.w.Stop(); return nil }) // for the goroutine of Chan
				if n := s.closed.Load(); n != 1 {
					t.Errorf("the state was closed %d times", n)
				}
				s.wantLen(t, 0)
			})
		}
	}
}

// TestStopBesideSnapshot: an entry that does not come keeps nobody but who asked for
// it, neither Stop nor another consumer whose context ends. The state is closed when
// it is not read any more.
func TestStopBesideSnapshot(t *testing.T) {
	for name, consume := range consumers {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, 2)
			begun, release := make(chan struct{}), make(chan struct{})
			s.next = func(entry int) {
				if entry == 2 {
					close(begun)
					<-release
				}
			}
			got := make(chan []*Event, 1)
			go func() { got <- consume(s.w, 9) }()
			<-begun
			ctx, cancel := context.WithCancelCause(t.Context())
			other := make(chan error, 1)
			go func() {
				_, err := s.w.Next(ctx)
				other <- err
			}()
			gone := errors.New("gone")
			cancel(gone)
			if err := finishes(t, func() error { return <-other }); err != gone {
				t.Errorf("another consumer gets %v, want the cause of its context", err)
			}
			finishes(t, func() any { s.w.Stop(); return nil })
			if n := s.closed.Load(); n != 0 {
				t.Errorf("the state was closed %d times while it is read", n)
			}
			close(release)
			wantEvents(t, finishes(t, func() []*Event { return <-got }), 1)
			finishes(t, func() any {
				for s.closed.Load() == 0 || s.w.inner.flags.have(reading) {
					runtime.Gosched()
				}
				return nil
			})
			if n := s.closed.Load(); n != 1 {
				t.Errorf("the state was closed %d times", n)
			}
		})
	}
}

// TestChanStopBesideSnapshot: beside a consumer that reads the state Stop waits for
// the goroutine that is handing an event over.
func TestChanStopBesideSnapshot(t *testing.T) {
	for range 200 {
		s := newScripted(t, 2)
		reading, release := make(chan struct{}), make(chan struct{})
		s.next = func(entry int) {
			if entry == 2 {
				close(reading)
				<-release
			}
		}
		ch := s.w.Chan()
		for a := s.w.inner.extra.adapter; !a.handing.Load(); {
			runtime.Gosched() // it has the first entry
		}
		var reader sync.WaitGroup
		reader.Go(func() { s.w.TryNext() })
		<-reading
		s.w.Stop()
		e, ok := <-ch
		close(release)
		reader.Wait()
		s.stop()
		if ok {
			t.Fatalf("received revision %d after Stop", e.Revision)
		}
	}
}

// TestNextConsumerIsWoken: who waits while another reads the state is woken for what
// that one leaves, though it does not come again.
func TestNextConsumerIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(t, 2)
		reading, release := make(chan struct{}), make(chan struct{})
		s.next = func(entry int) {
			if entry == 1 {
				close(reading)
				<-release
			}
		}
		var other sync.WaitGroup
		other.Go(func() { wantEvents(t, consumers["TryNext"](s.w, 1), 1) })
		<-reading
		woken := make(chan []*Event, 1)
		other.Go(func() { woken <- consumers["Next"](s.w, 3) })
		synctest.Wait() // it waits
		close(release)
		synctest.Wait()
		s.put("a")
		wantEvents(t, <-woken, 1, 1, 2)
		other.Wait()
		s.w.Stop()
	})
}

// TestSnapshotPanics: the watcher ends and says why, whoever received; nobody else
// notices.
func TestSnapshotPanics(t *testing.T) {
	wantPanic := func(t *testing.T, err error, place string) {
		t.Helper()
		var p *PanicError
		if !errors.Is(err, ErrSnapshot) || !errors.As(err, &p) || p.Value != "boom" || !strings.Contains(string(p.Stack), "TestSnapshotPanics") {
			t.Fatalf("the error is %v", err)
		}
		if text := err.Error(); !strings.Contains(text, place) || !strings.Contains(text, "boom") || strings.Contains(text, "\n") {
			t.Errorf("the error is %q", text)
		}
	}
	for name, consume := range consumers {
		for at, want := range map[string][]int{"Snapshot.Next": {1}, "Snapshot.Close": {1, 1}} {
			t.Run(name+", "+at, func(t *testing.T) {
				s := newScripted(t, 2)
				other := s.watchKey(t, "a")
				if at == "Snapshot.Next" {
					s.next = func(entry int) {
						if entry == 2 {
							panic("boom")
						}
					}
				} else {
					s.close = func() { panic("boom") }
				}
				wantEvents(t, finishes(t, func() []*Event { return consume(s.w, 9) }), want...)
				wantPanic(t, s.w.Err(), at)
				finishes(t, func() any { s.w.Stop(); return nil })
				wantPanic(t, s.w.Err(), at)
				if s.closed.Load() != 1 || s.registry.Stats().Cancelled != 0 {
					t.Errorf("the state was closed %d times, the books say %+v", s.closed.Load(), s.registry.Stats())
				}
				s.put("a")
				wantEvents(t, finishes(t, func() []*Event { return consumers["Next"](other, 1) }), 2)
				s.wantLen(t, 1)
			})
		}
	}
	t.Run("Stop", func(t *testing.T) {
		s := newScripted(t, 2)
		s.close = func() { panic("boom") }
		s.w.Stop()
		if s.w.Err() != ErrClosed || s.closed.Load() != 1 {
			t.Errorf("Err is %v, the state was closed %d times", s.w.Err(), s.closed.Load())
		}
	})
	t.Run("RegistryOptions.Snapshot", func(t *testing.T) {
		h := newHarness(t, 4, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) { panic("boom") }})
		_, err := h.registry.Watch(t.Context(), ">", WithInitial())
		wantPanic(t, err, "RegistryOptions.Snapshot")
		h.wantLen(t, 0)
	})
	t.Run("the goroutine ends", func(t *testing.T) {
		s := newScripted(t, 2)
		s.next = func(int) { runtime.Goexit() }
		var consumer sync.WaitGroup
		consumer.Add(1)
		go func() {
			defer consumer.Done()
			s.w.TryNext()
		}()
		consumer.Wait()
		_, err := s.w.Next(t.Context())
		if !errors.Is(err, ErrSnapshot) || s.closed.Load() != 1 {
			t.Errorf("Next gives %v, the state was closed %d times", err, s.closed.Load())
		}
		s.wantLen(t, 0)
	})
}
