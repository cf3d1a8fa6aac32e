package fsm

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

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

// TestWrapIndexGoesBack: Raft does not do it without a snapshot, but if it did, watchers would
// be told, and the ring would hold.
func TestWrapIndexGoesBack(t *testing.T) {
	f, ring := wrapLedger(t, newLedger(), postings)
	reader := ring.Cursor(2)
	defer reader.Close()
	for _, c := range []struct {
		index uint64
		want  string
	}{
		{1, ``}, {2, ``}, {3, `3 put a=1 was "1" of 2`}, {2, `4 reset`}, {3, `5 reset`}, {4, `6 reset`}, {5, `7 reset`},
		{8, `8 put a=1 was "1" of 0`}, {9, `9 put a=1 was "1" of 8`},
	} {
		f.Apply(entry(c.index, "a=1"))
		if got := strings.Join(lines(reader.Poll(make([]*fanout.Event, 0, 8))), "\n"); got != c.want {
			t.Fatalf("with entry %d: %s, want %s", c.index, got, c.want)
		}
	}
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
