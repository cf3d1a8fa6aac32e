package fanout

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// told reports whether w has heard of every gap. What it must hand out is known
// only then.
func (h *harness) told(w *Watcher) bool { return w.inner.epoch == h.dispatcher.gaps.epoch }

// TestWalkModel drives a dispatcher by hand, so that gaps open, watchers come,
// go and receive, and the state is reset at every stage of the walk over more
// watchers than one slice holds.
func TestWalkModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const slots, watchers = 4, walkSlice + 100
		h := newHarness(t, slots, RegistryOptions{})
		d := h.dispatcher
		var all []*subscriber
		keys := rapid.Map(rapid.IntRange(0, 20), func(i int) string { return fmt.Sprint(i) })
		watch := func(key string) {
			s := &subscriber{want: mailbox{limit: 3}, match: func(k string) bool { return k == key }}
			s.watcher = h.watchKey(t, key, WithBuffer(3))
			all = append(all, s)
		}
		for i := range watchers {
			watch(fmt.Sprint(i % 20))
		}
		read := func() bool {
			events := d.cursor.Poll(make([]*Event, 0, 1))
			d.deliver(events)
			for _, e := range events {
				for _, s := range all {
					s.offer(e)
				}
			}
			return len(events) > 0
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				for _, key := range rapid.SliceOfN(keys, 1, 3*slots).Draw(t, "keys") {
					h.push(key)
				}
				h.ring.Flush()
			},
			"reset": func(*rapid.T) {
				h.revision++
				h.ring.Reset(h.revision)
			},
			"read": func(t *rapid.T) {
				for range rapid.IntRange(1, 4).Draw(t, "count") {
					read()
				}
			},
			"slice": func(*rapid.T) { d.flagSlice() },
			"watch": func(t *rapid.T) { watch(keys.Draw(t, "key")) },
			"stop": func(t *rapid.T) {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "watcher")
				all[i].watcher.Stop()
				all[i], all = all[len(all)-1], all[:len(all)-1]
			},
			"take": func(t *rapid.T) {
				if s := rapid.SampledFrom(all).Draw(t, "watcher"); h.told(s.watcher) {
					s.take(t)
				}
			},
		})
		for read() {
		}
		for d.walk.active {
			d.flagSlice()
		}
		if len(d.gaps.gaps) > 0 {
			t.Fatalf("%d gaps are remembered after everyone has heard", len(d.gaps.gaps))
		}
		h.wantLen(t, len(all))
		for _, s := range all {
			if !h.told(s.watcher) {
				t.Fatalf("a walk missed the watcher in slot %d", s.watcher.inner.slot)
			}
			for s.take(t) {
			}
			s.books(t)
		}
	})
}

// TestResetOnce: a watcher whose place in the roster changes while a Reset is
// handed round gets it once. Those that are stopped stand in front, those that
// take their places come from the end.
func TestResetOnce(t *testing.T) {
	const permanent, passing, resets = 3 * walkSlice, 6 * walkSlice, 300
	h := newHarness(t, 16, RegistryOptions{})
	var stopping []*Watcher
	for range passing {
		stopping = append(stopping, h.watchKey(t, "a"))
	}
	var staying []*Watcher
	for range permanent {
		staying = append(staying, h.watchKey(t, "a", WithBuffer(2*resets)))
	}
	h.run(t)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for _, i := range rand.Perm(passing) {
			stopping[i].Stop()
		}
	}()
	for running := true; running || h.revision < resets; {
		select {
		case <-stopped:
			running = false
		default:
		}
		h.revision++
		h.ring.Reset(h.revision)
		for seen := uint64(0); seen < h.revision; { // one at a time, so that none hides another
			e, err := staying[0].Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			seen = e.Revision
		}
	}
	h.stop()
	for _, w := range staying[1:] {
		var l ledger
		for _, e := range drain(w) {
			l.add(t, e)
		}
		if l.through != h.revision {
			t.Fatalf("the last Reset received is of revision %d, want %d", l.through, h.revision)
		}
	}
}

// TestSilentWatchersAreTold: nothing that they watch comes after the loss, or at
// all. Each is told once, and one that joins later is not.
func TestSilentWatchersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 4, RegistryOptions{}).run(t)
		var silent []*Watcher
		for i := range 2*walkSlice + 3 {
			silent = append(silent, h.watchKey(t, fmt.Sprint("silent", i)))
		}
		busy, pattern := h.watchKey(t, "a"), h.watch(t, "*")
		h.put("a") // 1
		wantDrain(t, busy, 1)
		wantDrain(t, pattern, 1)
		h.put("b", "b", "b", "b", "b", "a") // 2 to 7, of which 4 are kept
		wantDrain(t, busy, -2, -3, 7)
		wantDrain(t, pattern, -2, -3, 4, 5, 6, 7)
		late := h.watchKey(t, "silent0")
		for _, w := range silent {
			wantDrain(t, w, -2, -3)
		}
		h.put("b", "b", "b", "b", "b") // 8 to 12
		for _, w := range silent {
			wantDrain(t, w, -8, -8)
		}
		wantDrain(t, busy, -8, -8)
		wantDrain(t, late, -8, -8)
		wantDrain(t, pattern, -8, -8, 9, 10, 11, 12)
		if s := h.registry.Stats(); s.Gaps != 2 || s.Lost != 3 || s.Dropped != 0 {
			t.Fatalf("the books say %+v, want 2 gaps of 3 revisions", s)
		}
		if busy.Dropped() != 0 {
			t.Fatal("what the dispatcher lost is counted as the watcher's own loss")
		}
	})
}

// TestWalkOverShrinkingRoster: the slots where the walk would go on are gone, and
// those that stay have moved.
func TestWalkOverShrinkingRoster(t *testing.T) {
	const staying, watchers = 7, walkSlice + 50
	h := newHarness(t, 4, RegistryOptions{})
	d := h.dispatcher
	var all []*Watcher
	for range watchers {
		all = append(all, h.watchKey(t, "silent"))
	}
	rand.Shuffle(watchers, func(i, j int) { all[i], all[j] = all[j], all[i] })
	h.put("a", "a", "a", "a", "a", "a")
	d.deliver(d.cursor.Poll(make([]*Event, 0, 1)))
	d.flagSlice()
	for _, w := range all[staying:] {
		w.Stop()
	}
	for d.walk.active {
		d.flagSlice()
	}
	h.wantLen(t, staying)
	for _, w := range all[:staying] {
		wantEvents(t, drain(w), -1, -2)
	}
}

// TestToldBeforeTheEnd: the dispatcher ends in the middle of a walk.
func TestToldBeforeTheEnd(t *testing.T) {
	h := newHarness(t, 4, RegistryOptions{})
	var silent []*Watcher
	for range 2*walkSlice + 1 {
		silent = append(silent, h.watchKey(t, "silent"))
	}
	h.put("a", "a", "a", "a", "a", "a")
	h.dispatcher.deliver(h.dispatcher.cursor.Poll(make([]*Event, 0, 1)))
	h.dispatcher.flagSlice()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errOwnerStopped)
	if err := h.dispatcher.Run(ctx); err != errOwnerStopped {
		t.Errorf("Run returned %v, want the cause of its context", err)
	}
	for _, w := range silent {
		wantEvents(t, drain(w), -1, -2)
	}
}

// TestRunEndsUnderLoad: an end is noticed although there is always more to read.
func TestRunEndsUnderLoad(t *testing.T) {
	h := newHarness(t, 64*maxRead, RegistryOptions{})
	for range 64 * maxRead {
		h.push("a")
	}
	h.ring.Flush()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errOwnerStopped)
	if err := h.dispatcher.Run(ctx); err != errOwnerStopped {
		t.Errorf("Run returned %v, want the cause of its context", err)
	}
	if n := h.registry.Stats().Events; n > maxRead {
		t.Errorf("Run read %d events after its end", n)
	}
}
