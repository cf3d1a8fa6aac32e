package fanout

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
)

// faults are what may happen to the state just when its watcher is ended. They begin
// with the end of the state, when they are told to.
var faults = map[string]func(s *scripted, begun, release chan struct{}){
	"Snapshot.Next panics": func(s *scripted, begun, release chan struct{}) {
		s.next = func(int) {
			close(begun)
			<-release
			panic("boom")
		}
	},
	"Snapshot.Close panics": func(s *scripted, begun, release chan struct{}) {
		s.next = func(int) {
			close(begun)
			<-release
		}
		s.close = func() { panic("boom") }
	},
	"the goroutine ends": func(s *scripted, begun, release chan struct{}) {
		s.next = func(int) {
			close(begun)
			<-release
			runtime.Goexit()
		}
	},
}

// TestErrStays: why a watcher ended does not change when what was being read just then
// fails. Only what a dispatcher that ended left to be read may still fail.
func TestErrStays(t *testing.T) {
	for name, fault := range faults {
		fails := func(t *testing.T, end func(s *scripted), want error) {
			s := newScripted(t, 0)
			begun, release := make(chan struct{}), make(chan struct{})
			fault(s, begun, release)
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.w.TryNext()
			}()
			<-begun
			end(s)
			if err := s.w.Err(); err != ErrClosed {
				t.Errorf("Err is %v", err)
			}
			close(release)
			<-done
			if err := s.w.Err(); !errors.Is(err, want) {
				t.Errorf("Err has become %v, want %v", err, want)
			}
			if s.closed.Load() != 1 || s.registry.Stats().Cancelled != 0 {
				t.Errorf("the state was closed %d times, the books say %+v", s.closed.Load(), s.registry.Stats())
			}
			s.wantLen(t, 0)
		}
		t.Run(name+", stopped", func(t *testing.T) {
			fails(t, func(s *scripted) { s.w.Stop() }, ErrClosed)
		})
		t.Run(name+", without its dispatcher", func(t *testing.T) {
			fails(t, func(s *scripted) { s.stop() }, ErrSnapshot)
		})
	}
	t.Run("it had lagged, stopped", func(t *testing.T) {
		h := newHarness(t, 4, RegistryOptions{})
		h.put("a")
		w := h.watchKey(t, "a", FromRevision(1), WithPolicy(Cancel))
		c := readHistory(w)
		w.Stop()
		w.inner.handBack(c, laggedFrom(1))
		if w.Err() != ErrClosed || h.registry.Stats().Cancelled != 0 {
			t.Errorf("Err has become %v, the books say %+v", w.Err(), h.registry.Stats())
		}
		h.wantLen(t, 0)
	})
}

// TestErrStaysHammer: a watcher's end and the failure of what is read at the same time.
// Whichever comes first is why it ended.
func TestErrStaysHammer(t *testing.T) {
	eachGOMAXPROCS(t, func(t *testing.T) {
		gone := errors.New("gone")
		h := newHarness(t, 4, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
			return Snapshot{Next: func() *Event { panic("boom") }}, nil
		}})
		for round := range 2000 {
			ctx, cancel := context.WithCancelCause(t.Context())
			w, err := h.registry.WatchKey(ctx, "a", WithInitial())
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.TryNext()
			}()
			if round%2 == 0 {
				w.Stop()
			} else {
				cancel(gone)
			}
			why := w.Err()
			for ; why == nil; why = w.Err() {
				runtime.Gosched()
			}
			<-done
			w.Stop()
			if w.Err() != why {
				t.Fatalf("Err was %v, and has become %v", why, w.Err())
			}
			cancel(nil)
		}
		h.registry.waitEmpty(t)
		h.wantLen(t, 0)
	})
}

// TestContextEndsBesideASlowState: the end of a context ends all of its watchers, though
// the state of one takes its time to close.
func TestContextEndsBesideASlowState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := newHarness(t, 4, RegistryOptions{Snapshot: func(Filter) (Snapshot, error) {
			return Snapshot{Next: func() *Event { return nil }, Close: func() { <-release }}, nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var watchers [8]*Watcher
		for i := range watchers {
			var err error
			if watchers[i], err = h.registry.WatchKey(ctx, "a", WithInitial()); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		synctest.Wait()
		for _, w := range watchers {
			if !errors.Is(w.Err(), context.Canceled) {
				t.Errorf("Err is %v while a state is being closed", w.Err())
			}
		}
		close(release)
	})
}

// TestReadyBesideTheEnd: behind every TryNext of a watcher that has ended there is a value,
// also if it returned an event.
func TestReadyBesideTheEnd(t *testing.T) {
	bubble(t, 16, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a")
		ready := w.Ready()
		h.put("a", "a")
		synctest.Wait()
		<-ready
		h.stop()
		if _, ok := w.TryNext(); !ok {
			t.Fatal("there is no event")
		}
		select {
		case <-ready:
		default:
			t.Error("there is no value")
		}
	})
}
