package node

import (
	"errors"
	"fmt"
	"testing"

	"github.com/watchcast/watchcast/fanout"
)

// TestWatchBeginsWithState: a watch with the present state has every key, then
// the revision where that stands, then what follows, and equals the store.
func TestWatchBeginsWithState(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	want := make(map[string]uint64)
	for i := range 20 {
		key := fmt.Sprintf("app.%d", i%7)
		want[key] = put(t, n, key, fmt.Sprint(i))
	}
	put(t, n, "other", "x")
	w := watch(t, n, "app.*", fanout.WithInitial())
	want["app.0"] = put(t, n, "app.0", "later")
	got := make(map[string]uint64)
	for done := false; !done; {
		e := next(t, w)
		switch {
		case e.Op == fanout.Put:
			got[e.Key] = e.Revision
			done = e.Revision == want["app.0"]
		case e.Op != fanout.Progress || e.Revision != w.Start() || len(got) != 7:
			t.Fatalf("after %d keys of the state at %d comes %+v", len(got), w.Start(), e)
		}
	}
	for key, revision := range want {
		if got[key] != revision {
			t.Errorf("%s is at %d, want %d", key, got[key], revision)
		}
	}
}

// TestWatchResumes: a watch from a revision of before a restart is served from the
// log that was read again, and refused where that begins with a snapshot.
func TestWatchResumes(t *testing.T) {
	t.Parallel()
	c := single(t)
	n := lead(t, c)
	first := put(t, n, "k", "1")
	second := put(t, n, "k", "2")
	stop(t, n)
	n = lead(t, c)
	third := put(t, n, "k", "3")
	w := watch(t, n, "k", fanout.FromRevision(second))
	for _, want := range []uint64{second, third} {
		if e := next(t, w); e.Op != fanout.Put || e.Revision != want {
			t.Fatalf("received %v %d, want revision %d", e.Op, e.Revision, want)
		}
	}
	keepNoLog(t, n)
	takeSnapshot(t, n)
	stop(t, n)
	n = lead(t, c)
	_, err := n.WatchKey(bounded(t), "k", fanout.FromRevision(first))
	var compacted *fanout.CompactedError
	if !errors.As(err, &compacted) || compacted.Oldest <= third {
		t.Errorf("from %d, with a snapshot above %d: %v", first, third, err)
	}
}
