package fsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

func newRing(t tester) *fanout.Ring {
	t.Helper()
	ring, err := fanout.NewRing(fanout.RingOptions{Slots: 1024})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func wrapLedger(t tester, inner raft.FSM, changes func(*raft.Log, any) []Change) (raft.FSM, *fanout.Ring) {
	t.Helper()
	ring := newRing(t)
	f, err := Wrap(inner, changes, WrapOptions{Ring: ring})
	if err != nil {
		t.Fatal(err)
	}
	return f, ring
}

func entry(index uint64, words string) *raft.Log { return logOfData(index, []byte(words)) }

// line writes an event down, all that a test compares.
func line(e *fanout.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %v", e.Revision, e.Op)
	if e.Op == fanout.Lagged {
		fmt.Fprintf(&b, " from %d", e.PrevRevision)
	}
	if !e.Control() {
		fmt.Fprintf(&b, " %s=%s was %q of %d", e.Key, e.Value, e.PrevValue, e.PrevRevision)
	}
	if e.BatchSize > 0 {
		fmt.Fprintf(&b, ", %d of %d", e.Batch, e.BatchSize)
	}
	return b.String()
}

func lines(events []*fanout.Event) (all []string) {
	for _, e := range events {
		all = append(all, line(e))
	}
	return all
}

// ringLines is what the ring holds, from the oldest on.
func ringLines(ring *fanout.Ring, after uint64) []string {
	c := ring.Cursor(after)
	defer c.Close()
	return lines(c.Poll(make([]*fanout.Event, 0, 2048)))
}

func wantLines(t tester, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestWrapEvents: what an entry changed, in the words of an event.
func TestWrapEvents(t *testing.T) {
	f, ring := wrapLedger(t, newLedger(), postings)
	for i, words := range []string{"a=1", "nonsense", "", "a=2 b=3 -c", "-a"} {
		f.Apply(entry(uint64(i+1), words))
	}
	wantLines(t, ringLines(ring, 0),
		`1 put a=1 was "" of 0`,
		`4 put a=2 was "1" of 1, 0 of 3`,
		`4 put b=3 was "" of 0, 1 of 3`,
		`4 delete c= was "" of 0, 2 of 3`,
		`5 delete a= was "2" of 4`)
	c := ring.Cursor(0)
	defer c.Close()
	e := c.Poll(make([]*fanout.Event, 0, 1))[0]
	if !e.Time.Equal(timeAt(1)) {
		t.Errorf("the event is of %v, the entry of %v", e.Time, timeAt(1))
	}
}

// TestWrapNoValueOfADelete: an event of a key that is gone has none.
func TestWrapNoValueOfADelete(t *testing.T) {
	f, ring := wrapLedger(t, newLedger(), func(*raft.Log, any) []Change {
		return []Change{{Op: fanout.Delete, Key: "a", Value: []byte("x")}, {Op: fanout.Expire, Key: "b", Value: []byte("x")}}
	})
	f.Apply(entry(1, ""))
	wantLines(t, ringLines(ring, 0), `1 delete a= was "" of 0, 0 of 2`, `1 expire b= was "" of 0, 1 of 2`)
}

// TestWrapEventAfterItsChange: while inner is still at work on an entry, a batch or
// a snapshot, nothing of it can be read. So what is read finds it done.
func TestWrapEventAfterItsChange(t *testing.T) {
	inner := newLedger()
	for name, machine := range map[string]raft.FSM{"plain": inner, "batching": &batches{ledger: inner}} {
		t.Run(name, func(t *testing.T) {
			f, ring := wrapLedger(t, machine, postings)
			done := uint64(0)
			inner.look = func() {
				if r := ring.Revision(); r > done {
					t.Errorf("an event of revision %d can be read; done is %d", r, done)
				}
			}
			for i := uint64(1); i < 10; i += 3 {
				logs := []*raft.Log{entry(i, "a=1"), entry(i+1, "a=2")}
				if b, ok := f.(raft.BatchingFSM); ok {
					b.ApplyBatch(logs)
				} else {
					f.Apply(logs[0])
					done = i
					f.Apply(logs[1])
				}
				done = i + 1
				if err := f.Restore(io.NopCloser(strings.NewReader(`{}`))); err != nil {
					t.Fatal(err)
				}
				done = i + 2
				if r := ring.Revision(); r != done {
					t.Errorf("revision %d can be read, done is %d", r, done)
				}
			}
		})
	}
}

// TestWrapHasWhatInnerHas: Raft asks for optional methods by type assertion.
func TestWrapHasWhatInnerHas(t *testing.T) {
	for _, inner := range []raft.FSM{newLedger(), &batches{ledger: newLedger()}, &configurations{ledger: newLedger()}, newFullLedger()} {
		f, _ := wrapLedger(t, inner, postings)
		_, innerBatches := inner.(raft.BatchingFSM)
		_, innerStores := inner.(raft.ConfigurationStore)
		_, batches := f.(raft.BatchingFSM)
		_, stores := f.(raft.ConfigurationStore)
		if batches != innerBatches || stores != innerStores {
			t.Errorf("%T: batching %v, storing configurations %v; wrapped %v, %v", inner, innerBatches, innerStores, batches, stores)
		}
	}
}

// TestWrapOneFlushABatch: nothing can be read before all of a batch can be.
func TestWrapOneFlushABatch(t *testing.T) {
	ring := newRing(t)
	c := ring.Cursor(0)
	defer c.Close()
	early := 0
	f, err := Wrap(&batches{ledger: newLedger()}, func(l *raft.Log, result any) []Change {
		early += len(c.Poll(make([]*fanout.Event, 0, 8))) // between two entries
		return postings(l, result)
	}, WrapOptions{Ring: ring})
	if err != nil {
		t.Fatal(err)
	}
	f.(raft.BatchingFSM).ApplyBatch([]*raft.Log{entry(1, "a=1"), entry(2, "a=2"), entry(3, "a=3")})
	if early > 0 {
		t.Errorf("%d events were published before the batch was done", early)
	}
	if n := len(c.Poll(make([]*fanout.Event, 0, 8))); n != 3 {
		t.Errorf("%d events were published when the batch was done, want 3", n)
	}
}

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
			if !strings.Contains(l, "bad news") || !strings.Contains(l, "wrap_test.go") {
				t.Errorf("no reason, or no place: %s", l)
			}
		}
	})
}

// TestWrapRestore: a Reset above all that was, at once; and with the next entry one
// that covers what the snapshot may hold, for who begins in between.
func TestWrapRestore(t *testing.T) {
	f, ring := wrapLedger(t, newLedger(), postings)
	snapshot := func() io.ReadCloser { return io.NopCloser(strings.NewReader(`{"a":"5"}`)) }
	f.Apply(entry(3, "a=1"))
	if err := f.Restore(snapshot()); err != nil {
		t.Fatal(err)
	}
	wantLines(t, ringLines(ring, 3), `4 reset`)
	f.Apply(entry(10, "a=6"))
	wantLines(t, ringLines(ring, 4), `9 reset`, `10 put a=6 was "5" of 0`)
	f.Apply(entry(11, "a=7"))
	if err := f.Restore(snapshot()); err != nil {
		t.Fatal(err)
	}
	f.Apply(entry(13, "a=6")) // the snapshot stands at 12, and there was no other
	wantLines(t, ringLines(ring, 11), `12 reset`, `13 put a=6 was "5" of 0`)
}

// TestWrapResumeAfterRestore: revisions that only the snapshot has cannot be
// resumed from.
func TestWrapResumeAfterRestore(t *testing.T) {
	f, ring := wrapLedger(t, newLedger(), postings)
	registry, err := fanout.NewRegistry(fanout.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fanout.NewDispatcher(ring, registry, fanout.DispatcherOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Restore(io.NopCloser(strings.NewReader(`{}`))); err != nil {
		t.Fatal(err)
	}
	early, err := registry.WatchKey(t.Context(), "a", fanout.FromRevision(6))
	if err != nil {
		t.Fatal(err)
	}
	f.Apply(entry(10, "b=1"))
	wantLines(t, taken(early), `9 reset`)
	var compacted *fanout.CompactedError
	if _, err := registry.WatchKey(t.Context(), "a", fanout.FromRevision(6)); !errors.As(err, &compacted) || compacted.Oldest != 10 {
		t.Errorf("a watch from revision 6, where a snapshot ends at 9: %v", err)
	}
}

// TestWrapRestoreFails: the error is inner's, and watchers are told when there is
// something to read; a snapshot that is good after all makes up for it.
func TestWrapRestoreFails(t *testing.T) {
	f, ring := wrapLedger(t, newLedger(), postings)
	broken := errors.New("broken")
	fail := func() {
		t.Helper()
		err := f.Restore(io.NopCloser(io.MultiReader(strings.NewReader(`{"a`), failing{broken})))
		if !errors.Is(err, broken) {
			t.Errorf("error is %v", err)
		}
	}
	f.Apply(entry(1, "a=1"))
	fail()
	wantLines(t, ringLines(ring, 1))
	f.Apply(entry(4, "a=2"))
	f.Apply(entry(5, "a=3"))
	wantLines(t, ringLines(ring, 1), `4 lagged from 2`, `5 put a=3 was "2" of 0`)
	fail()
	if err := f.Restore(io.NopCloser(strings.NewReader(`{}`))); err != nil {
		t.Fatal(err)
	}
	f.Apply(entry(7, "a=4"))
	wantLines(t, ringLines(ring, 5), `6 reset`, `7 put a=4 was "" of 0`)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestWrapIndexGoesBack: Raft does not do it, but if it did, watchers would be
// told, and the ring would hold.
func TestWrapIndexGoesBack(t *testing.T) {
	f, ring := wrapLedger(t, newLedger(), postings)
	for _, index := range []uint64{1, 2, 3, 2, 3, 4, 5} {
		f.Apply(entry(index, "a=1"))
	}
	wantLines(t, ringLines(ring, 2), `3 put a=1 was "1" of 2`, `4 lagged from 4`, `5 put a=1 was "1" of 0`)
}

// TestWrapBadOptions: each says what to give.
func TestWrapBadOptions(t *testing.T) {
	used := newRing(t)
	used.Reset(1)
	for name, err := range map[string]error{
		"no machine": second(Wrap(nil, postings, WrapOptions{Ring: newRing(t)})),
		"no changes": second(Wrap(newLedger(), nil, WrapOptions{Ring: newRing(t)})),
		"no ring":    second(Wrap(newLedger(), postings, WrapOptions{})),
		"used ring":  second(Wrap(newLedger(), postings, WrapOptions{Ring: used})),
	} {
		if !errors.Is(err, fanout.ErrBadOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ raft.FSM, err error) error { return err }
