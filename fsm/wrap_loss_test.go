package fsm

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// TestWrapBadChanges: whatever the owner's function does, Raft has its result, and
// watchers are told in the place of the entry, and of no key is more known than
// what came after.
func TestWrapBadChanges(t *testing.T) {
	good := Change{Op: fanout.Put, Key: "good"}
	for name, bad := range map[string]func() []Change{
		"panics":         func() []Change { panic("bad") },
		"panics badly":   func() []Change { panic(panicker{}) },
		"no key":         func() []Change { return []Change{good, {Op: fanout.Put}} },
		"long key":       func() []Change { return []Change{{Op: fanout.Put, Key: strings.Repeat("k", fanout.MaxKeyBytes+1)}} },
		"no op":          func() []Change { return []Change{good, {Key: "k"}} },
		"a control op":   func() []Change { return []Change{{Op: fanout.Reset, Key: "k"}} },
		"one key twice":  func() []Change { return []Change{good, {Op: fanout.Put, Key: "k"}, good} },
		"a key of a lot": func() []Change { return append(slices.Repeat([]Change{good}, 100_000), good) },
	} {
		t.Run(name, func(t *testing.T) {
			f, ring := wrapLedger(t, newLedger(), func(l *raft.Log, result any) []Change {
				if l.Index == 2 {
					return bad()
				}
				return postings(l, result)
			})
			f.Apply(entry(1, "a=1"))
			if r, ok := f.Apply(entry(2, "a=2")).([]posting); !ok || len(r) != 1 {
				t.Errorf("result is %v", r)
			}
			f.Apply(entry(3, "a=3"))
			f.Apply(entry(4, "a=4"))
			wantLines(t, ringLines(ring, 0),
				`1 put a=1 was "" of 0`,
				`2 lagged from 2`,
				`3 put a=3 was "2" of 0`, // the key may have changed at 2
				`4 put a=4 was "3" of 3`)
		})
	}
}

// panicker panics when it is printed.
type panicker struct{}

func (panicker) Error() string { panic("again") }

// TestWrapLossIsTold: every watcher is told, at once, though nothing follows, and
// who begins before that revision as well.
func TestWrapLossIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ring := wrapLedger(t, newLedger(), func(*raft.Log, any) []Change { panic("bad") })
		registry, w := watching(t, ring, 0)
		f.Apply(entry(1, "a=1"))
		synctest.Wait()
		wantLines(t, taken(w), `1 lagged from 1`)
		late, err := registry.WatchKey(t.Context(), "b", fanout.FromRevision(1))
		if err != nil {
			t.Fatal(err)
		}
		wantLines(t, taken(late), `1 lagged from 1`)
	})
}

// watchAll returns a watcher of all that comes out of a dispatcher of the ring.
func watchAll(t *testing.T, ring *fanout.Ring, after uint64) *fanout.Watcher {
	t.Helper()
	_, w := watching(t, ring, after)
	return w
}

// watching runs a dispatcher, with a watcher of all that comes out of it.
func watching(t *testing.T, ring *fanout.Ring, after uint64) (*fanout.Registry, *fanout.Watcher) {
	t.Helper()
	registry, err := fanout.NewRegistry(fanout.RegistryOptions{Buffer: 1000})
	if err != nil {
		t.Fatal(err)
	}
	d, err := fanout.NewDispatcher(ring, registry, fanout.DispatcherOptions{After: after, Spin: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	w, err := registry.Watch(t.Context(), ">")
	if err != nil {
		t.Fatal(err)
	}
	return registry, w
}

// taken is what waits in w.
func taken(w *fanout.Watcher) (all []string) {
	for e, ok := w.TryNext(); ok; e, ok = w.TryNext() {
		all = append(all, line(e))
	}
	return all
}

// next takes so many events, which come.
func next(t *testing.T, w *fanout.Watcher, n int) (all []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes milliseconds
	defer cancel()
	for range n {
		e, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("%v, after:\n%s", err, strings.Join(all, "\n"))
		}
		all = append(all, line(e))
	}
	return all
}

// TestWrapLogsOneLineAPeriod: the line says how many, why, and where.
func TestWrapLogsOneLineAPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f, err := Wrap(newLedger(), func(*raft.Log, any) []Change { panic("bad news") },
			WrapOptions{Ring: newRing(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(1000) {
			f.Apply(entry(i+1, "a=1"))
		}
		time.Sleep(lossPeriod) // of the bubble's clock
		f.Apply(entry(1001, "a=1"))
		got := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(got) != 2 || !strings.Contains(got[0], "entries=1 ") || !strings.Contains(got[1], "revision=1001 entries=1000 ") {
			t.Fatalf("logged:\n%s", &log)
		}
		for _, l := range got {
			if !strings.Contains(l, "bad news") || !strings.Contains(l, "wrap_loss_test.go") {
				t.Errorf("no reason, or no place: %s", l)
			}
		}
	})
}
