package fanout

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestStuckWatcher: one that does not receive costs the others nothing, and
// learns exactly what it missed, at once when it comes back.
func TestStuckWatcher(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		stuck, healthy := h.watchKey(t, "a", WithBuffer(3)), h.watchKey(t, "a", WithBuffer(3))
		for revision := 1; revision <= 1000; revision++ {
			h.put("a")
			wantDrain(t, healthy, revision)
		}
		wantDrain(t, stuck, 1, 2, 3, -4, -1000)
		h.put("a")
		wantDrain(t, stuck, 1001)
		if stuck.Dropped() != 997 || healthy.Dropped() != 0 {
			t.Fatalf("dropped %d and %d, want 997 and none", stuck.Dropped(), healthy.Dropped())
		}
	})
}

// TestMarkerInPlace: with room again the marker comes ahead of the next event.
func TestMarkerInPlace(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a", WithBuffer(3))
		h.put("a", "b", "a", "a", "a", "a") // 5 and 6 are lost
		synctest.Wait()
		for _, want := range []uint64{1, 3} {
			if e, _ := w.TryNext(); e.Revision != want {
				t.Fatalf("got revision %d, want %d", e.Revision, want)
			}
		}
		h.put("b", "a")
		wantDrain(t, w, 4, -5, -6, 8)
	})
}

// TestOneLossCoversBoth: what the dispatcher lost and what did not fit become
// one marker if nothing lies between.
func TestOneLossCoversBoth(t *testing.T) {
	bubble(t, 4, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "a", WithBuffer(2))
		h.put("a", "a", "a") // 3 does not fit
		synctest.Wait()
		h.put("a", "a", "a", "a", "a", "a") // 4 and 5 fall off the ring
		wantDrain(t, w, 1, 2, -3, -9)
		if w.Dropped() != 5 {
			t.Fatalf("dropped %d, want 3 and 6 to 9", w.Dropped())
		}
	})
}

// TestResetInOrder: everybody gets it, whatever they watch, between what came
// before and what comes after.
func TestResetInOrder(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		watchers := []*Watcher{h.watchKey(t, "a"), h.watch(t, "*"), h.watch(t, ">")}
		silent := h.watchKey(t, "b")
		h.put("a")
		synctest.Wait()
		h.push("a") // 2: the new state stands above it, and nobody will see it
		h.revision = 10
		h.ring.Reset(10)
		late := h.watchKey(t, "a")
		h.put("a")
		for _, w := range watchers {
			synctest.Wait()
			got := drain(w)
			wantEvents(t, got, 1, -2, -2, 10, 11)
			if got[2].Op != Reset {
				t.Fatalf("revision 10 is a %v, want a reset", got[2].Op)
			}
		}
		wantDrain(t, silent, -2, -2, 10)
		wantDrain(t, late, 11)
	})
}

// TestOversizedBatch: its keys are not known any more, so everyone is told.
func TestOversizedBatch(t *testing.T) {
	bubble(t, 2, func(t *testing.T, h *harness) {
		a, z := h.watchKey(t, "a"), h.watchKey(t, "z")
		h.put("a")
		synctest.Wait()
		h.putBatch("a", "b", "c")
		wantDrain(t, a, 1, -2, -2)
		wantDrain(t, z, -2, -2)
		h.put("a", "z")
		wantDrain(t, a, 3)
		wantDrain(t, z, 4)
	})
}

// TestDispatcherParks: an idle one uses no processor time, which here shows in
// that the bubble comes to rest, and Flush finds it.
func TestDispatcherParks(t *testing.T) {
	bubble(t, 64, func(t *testing.T, h *harness) {
		w := h.watchKey(t, "b")
		defer w.Stop() // or the collector does, and the dispatcher rests
		for range 3 {
			synctest.Wait()
			if n := h.ring.parked.Load(); n != 1 {
				t.Fatalf("%d readers are parked, want the dispatcher", n)
			}
			h.put("a")
		}
	})
}

func TestDispatcherOptions(t *testing.T) {
	ring, registry := newTestRing(t, 4), newTestRegistry(t, RegistryOptions{})
	if _, err := NewDispatcher(nil, registry, DispatcherOptions{}); !errors.Is(err, ErrBadOption) {
		t.Errorf("without a ring: %v, want ErrBadOption", err)
	}
	if _, err := NewDispatcher(ring, nil, DispatcherOptions{}); !errors.Is(err, ErrBadOption) {
		t.Errorf("without a registry: %v, want ErrBadOption", err)
	}
	if _, err := NewDispatcher(ring, registry, DispatcherOptions{Spin: MaxSpin + 1}); !errors.Is(err, ErrBadOption) {
		t.Errorf("with too long a spin: %v, want ErrBadOption", err)
	}
	for _, interval := range []time.Duration{-1, MinProgressInterval - 1} {
		if _, err := NewDispatcher(ring, registry, DispatcherOptions{ProgressInterval: interval}); !errors.Is(err, ErrBadOption) {
			t.Errorf("with a ProgressInterval of %v: %v, want ErrBadOption", interval, err)
		}
	}
	d, err := NewDispatcher(ring, registry, DispatcherOptions{})
	var none context.Context
	if err := d.Run(none); !errors.Is(err, ErrBadOption) {
		t.Errorf("Run without a context: %v, want ErrBadOption", err)
	}
	if err != nil || d.cursor.spin != DefaultSpin {
		t.Errorf("with defaults: %v, spin %v", err, d.cursor.spin)
	}
	if _, err := NewDispatcher(ring, registry, DispatcherOptions{}); !errors.Is(err, ErrBadOption) {
		t.Errorf("a second one for the registry: %v, want ErrBadOption", err)
	}
}

// logged is lines of a log, written and read by any goroutine.
type logged struct {
	mu    sync.Mutex
	lines []string
}

// Write takes one line.
func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// take returns the lines since the last time.
func (l *logged) take() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, l.lines = l.lines, nil
	return lines
}

// TestLossReport: one line a period, with what was lost since the last one, also if
// nothing follows a loss, nobody watches any more, or the dispatcher ends.
func TestLossReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logged
		h := &harness{ring: newTestRing(t, 4), registry: newTestRegistry(t, RegistryOptions{})}
		h.join(t, DispatcherOptions{Spin: -1, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		h.run(t)
		w := h.watchKey(t, "a", WithBuffer(1))
		lines := func(want ...string) {
			t.Helper()
			synctest.Wait()
			got := out.take()
			if len(got) != len(want) {
				t.Fatalf("logged %q, want %d lines", got, len(want))
			}
			for i := range want {
				if !strings.Contains(got[i], want[i]) {
					t.Fatalf("logged %q, want %q in it", got[i], want[i])
				}
			}
		}
		h.put("a")
		lines()
		h.put("a", "a")
		lines("dropped=2 gap_revisions=0 watchers=1")
		h.put("a", "a")
		lines()
		<-time.After(reportPeriod)
		lines("dropped=2 gap_revisions=0 watchers=1")
		<-time.After(reportPeriod - 1)
		h.put("b", "b", "b", "b", "b", "b", "b")
		lines()
		h.put("a")
		lines()
		<-time.After(1)
		lines("dropped=1 gap_revisions=3 watchers=1")
		<-time.After(2 * reportPeriod)
		lines()
		h.put("a")
		lines("dropped=1 gap_revisions=0 watchers=1") // at once
		h.put("b", "a")
		wantDrain(t, w, 1, -2, -16)
		w.Stop()
		h.put("b") // now it rests
		<-time.After(reportPeriod)
		lines("dropped=1 gap_revisions=0 watchers=0")
		<-time.After(2 * reportPeriod)
		lines()
		last := h.watchKey(t, "a", WithBuffer(1))
		defer last.Stop()
		h.put("a", "a")
		lines("dropped=1 gap_revisions=0 watchers=1")
		h.put("a")
		lines()
		h.stop()
		lines("dropped=1 gap_revisions=0 watchers=1")
	})
}

// TestLossReportWakesNobody: while no line waits, or nobody reads them, there is no
// timer, so an idle dispatcher sleeps. Each step of it is taken by hand.
func TestLossReportWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := &harness{ring: newTestRing(t, 16), registry: newTestRegistry(t, RegistryOptions{})}
		read.join(t, DispatcherOptions{Spin: -1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		silent := newHarness(t, 16, RegistryOptions{})
		for h, want := range map[*harness]bool{read: true, silent: false} {
			d := h.dispatcher
			w := h.watchKey(t, "a", WithBuffer(1))
			defer w.Stop() // the collector would, before it has lost anything
			step := func(want bool, when string) {
				t.Helper()
				d.deliver(d.cursor.Poll(make([]*Event, 0, 16)))
				d.report.line(d)
				if got := d.report.timer != nil; got != want || (d.cursor.due != nil) != want {
					t.Errorf("a timer runs: %v, want %v; %s", got, want, when)
				}
			}
			h.put("a")
			step(false, "nothing was lost")
			h.put("a")
			step(false, "what was lost has been told")
			h.put("a")
			step(want, "a line waits")
			<-time.After(reportPeriod)
			step(false, "it was told")
		}
	})
}

// TestDispatcherEnd: what is buffered may still be taken, unless somebody stops
// the watcher; then there is nothing more, and no new watcher.
func TestDispatcherEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 16, RegistryOptions{}).run(t)
		w, stopped, waiting := h.watchKey(t, "a"), h.watchKey(t, "a"), h.watchKey(t, "b")
		var err error
		go func() { _, err = waiting.Next(t.Context()) }()
		h.put("a", "a")
		synctest.Wait()
		h.stop()
		synctest.Wait()
		if !errors.Is(h.err, errOwnerStopped) {
			t.Errorf("Run returned %v, want the cause of its context", h.err)
		}
		if !errors.Is(err, ErrClosed) {
			t.Errorf("a waiting consumer got %v, want ErrClosed", err)
		}
		h.wantLen(t, 0)
		if !errors.Is(w.Err(), ErrClosed) {
			t.Errorf("Err is %v, want ErrClosed", w.Err())
		}
		<-w.Ready()
		for want := uint64(1); want <= 2; want++ {
			if e, err := w.Next(t.Context()); err != nil || e.Revision != want {
				t.Fatalf("Next gave %+v, %v, want revision %d", e, err, want)
			}
		}
		if e, err := w.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Fatalf("Next gave %+v, %v, want ErrClosed", e, err)
		}
		stopped.Stop()
		wantDrain(t, stopped)

		if _, err := h.registry.WatchKey(t.Context(), "a"); !errors.Is(err, ErrClosed) {
			t.Errorf("WatchKey after the end: %v, want ErrClosed", err)
		}
		if _, err := h.registry.Watch(t.Context(), ">"); !errors.Is(err, ErrClosed) {
			t.Errorf("Watch after the end: %v, want ErrClosed", err)
		}
		if err := h.dispatcher.Run(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("a second Run: %v, want ErrClosed", err)
		}
	})
}

// TestLossBeforeReset: what the writer took away is told also where the Reset that
// follows is itself lost to a full buffer.
func TestLossBeforeReset(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		want   []int
	}{
		{DropNewest, []int{-1, -4, 9, 10, -11, -12}},
		{DropOldest, []int{-1, -10, 11, 12}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, 8, RegistryOptions{})
			w := h.watch(t, ">", WithBuffer(2), WithPolicy(c.policy))
			h.put("a", "a", "a", "a")
			h.revision = 9
			h.ring.Reset(9)
			h.put("a", "a", "a")
			h.run(t)
			wantDrain(t, w, c.want...)
		})
	}
}

// TestMarkerEndsWithTheLoss: where revisions are sparse, who lost nothing is told
// of nothing.
func TestMarkerEndsWithTheLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 4, RegistryOptions{})
		early := h.watch(t, ">")
		h.put("a", "a")
		w := h.watch(t, ">")
		h.revision = 9
		h.put("a", "a", "a", "a")
		h.run(t)
		wantDrain(t, w, 10, 11, 12, 13)
		wantDrain(t, early, -1, -2, 10, 11, 12, 13)
	})
}
