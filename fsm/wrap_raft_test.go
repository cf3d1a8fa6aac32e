package fsm

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// apply proposes entries at once, so that some share a batch, and returns their
// results.
func apply(t *testing.T, r *raft.Raft, words ...string) (results []any, last uint64) {
	t.Helper()
	var futures []raft.ApplyFuture
	for _, w := range words {
		futures = append(futures, r.Apply([]byte(w), 0))
	}
	for _, f := range futures {
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		results = append(results, f.Response())
		last = f.Index()
	}
	return results, last
}

// TestWrapUnderRaft: for each kind of machine Raft returns the same results with a
// watch as without one, and a watcher sees all changes, batches whole.
func TestWrapUnderRaft(t *testing.T) {
	var words []string
	for i := range 200 {
		words = append(words, fmt.Sprintf("a=%d b=%d", i, i), "nonsense", "", fmt.Sprintf("c=%d", i), "-c")
	}
	for name, kind := range map[string]func() raft.FSM{
		"plain":    func() raft.FSM { return newLedger() },
		"batching": func() raft.FSM { return &batches{ledger: newLedger()} },
		"storing":  func() raft.FSM { return &configurations{ledger: newLedger()} },
		"both":     func() raft.FSM { return newFullLedger() },
	} {
		t.Run(name, func(t *testing.T) {
			bare, _ := apply(t, startRaft(t, kind(), raft.NewInmemStore(), raft.NewInmemSnapshotStore()), words...)
			inner := kind()
			f, ring := wrapLedger(t, inner, postings)
			w := watchAll(t, ring, 0)
			r := startRaft(t, f, raft.NewInmemStore(), raft.NewInmemSnapshotStore())
			const events = 800
			results, _ := apply(t, r, words...)
			if !reflect.DeepEqual(results, bare) {
				t.Error("with a watch Raft returns other results")
			}
			for i, e := range next(t, w, events) {
				want := [][2]string{
					{fmt.Sprintf("put a=%d ", i/4), "0 of 2"}, {fmt.Sprintf("put b=%d ", i/4), "1 of 2"},
					{fmt.Sprintf("put c=%d ", i/4)}, {"delete c= "},
				}[i%4]
				if !strings.Contains(e, want[0]) || !strings.HasSuffix(e, want[1]) {
					t.Fatalf("event %d is %s, want %v", i, e, want)
				}
			}
			wasCalled(t, inner, r)
		})
	}
}

// wasCalled checks that Raft used the optional methods of inner through the watch.
func wasCalled(t *testing.T, inner raft.FSM, r *raft.Raft) {
	t.Helper()
	switch inner := inner.(type) {
	case *batches:
		if slices.Max(inner.sizes) < 2 {
			t.Error("no batch had several entries")
		}
	case *configurations:
		latest := r.GetConfiguration() // the first entry of the log
		if latest.Error() != nil || !slices.Equal(inner.indexes, []uint64{1}) || !reflect.DeepEqual(inner.latest, latest.Configuration()) {
			t.Errorf("stored %v of entries %v, want %v of the first", inner.latest, inner.indexes, latest.Configuration())
		}
	case *fullLedger: // Raft sends configurations to ApplyBatch then
		if slices.Max(inner.batches.sizes) < 2 || len(inner.indexes) > 0 {
			t.Errorf("batches of %v, configurations %v", inner.batches.sizes, inner.indexes)
		}
	}
}

// TestWrapRestoreUnderRaft: a live watcher is told of an operator's restore, and of
// nothing old after a restart from a snapshot and a log.
func TestWrapRestoreUnderRaft(t *testing.T) {
	log, files := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	inner := newLedger()
	f, ring := wrapLedger(t, inner, postings)
	w := watchAll(t, ring, 0)
	r := startRaft(t, f, log, files)
	_, first := apply(t, r, "a=1")
	backup := r.Snapshot()
	if err := backup.Error(); err != nil {
		t.Fatal(err)
	}
	_, second := apply(t, r, "a=2")
	wantLines(t, next(t, w, 2),
		fmt.Sprintf(`%d put a=1 was "" of 0`, first),
		fmt.Sprintf(`%d put a=2 was "1" of %d`, second, first))

	meta, in, err := backup.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := r.Restore(meta, in, 0); err != nil {
		t.Fatal(err)
	}
	if got, want := next(t, w, 1), fmt.Sprintf("%d reset", second+1); got[0] != want {
		t.Errorf("after the restore: %s, want %s", got[0], want)
	}
	if values := inner.state(); values["a"] != "1" {
		t.Errorf("a is %q when the reset is received", values["a"])
	}
	_, third := apply(t, r, "a=3")
	wantLines(t, next(t, w, 2), // Raft makes an entry of its own behind the snapshot
		fmt.Sprintf(`%d reset`, third-1),
		fmt.Sprintf(`%d put a=3 was "1" of 0`, third))
	if err := r.Shutdown().Error(); err != nil {
		t.Fatal(err)
	}

	f, ring = wrapLedger(t, newLedger(), postings)
	w = watchAll(t, ring, third) // the owner knows that this was announced
	r = startRaft(t, f, log, files)
	_, fourth := apply(t, r, "a=4")
	wantLines(t, next(t, w, 1), fmt.Sprintf(`%d put a=4 was "3" of %d`, fourth, third))
}

// TestWrapSnapshotFromLeader: a follower that was away too long gets a snapshot in
// place of the log; its watchers are told, in place, though nothing follows.
func TestWrapSnapshotFromLeader(t *testing.T) {
	_, there := raft.NewInmemTransport("")
	here, transport := raft.NewInmemTransport("")
	there.Connect(here, transport)
	transport.Connect(there.LocalAddr(), there)
	leader := startRaftOn(t, there, newLedger(), raft.NewInmemStore(), raft.NewInmemSnapshotStore())

	inner := newLedger()
	f, ring := wrapLedger(t, inner, postings)
	w := watchAll(t, ring, 0)
	joinRaft(t, "n2", transport, f, raft.NewInmemStore(), raft.NewInmemSnapshotStore())
	if err := leader.AddNonvoter("n2", here, 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	_, seen := apply(t, leader, "a=1")
	wantLines(t, next(t, w, 1), fmt.Sprintf(`%d put a=1 was "" of 0`, seen))

	there.Disconnect(here)
	apply(t, leader, "a=2", "a=3", "a=4", "a=5")
	if err := leader.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	there.Connect(here, transport)
	wantLines(t, next(t, w, 1), fmt.Sprintf(`%d reset`, seen+1))
	if values := inner.state(); values["a"] != "5" {
		t.Errorf("a is %q when the reset is received", values["a"])
	}
	_, last := apply(t, leader, "a=6")
	wantLines(t, next(t, w, 2),
		fmt.Sprintf(`%d reset`, last-1),
		fmt.Sprintf(`%d put a=6 was "5" of 0`, last))
}
