package fsm

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fanout"
)

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
	// A second Reset at 12 would hide what the first one took away.
	wantLines(t, ringLines(ring, 10), `11 lagged from 11`, `12 reset`, `13 put a=6 was "5" of 0`)
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
