package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoNextSegment has the log come to the end of a segment when it cannot make
// another one: files stand where that would be. The log store notes this and takes
// no entry any more. The node stops by itself: what is under way has an unknown
// outcome, what comes later is refused, stale reads and watchers stay; and started
// again it has all that was acknowledged.
func TestNoNextSegment(t *testing.T) {
	t.Parallel()
	const size = 1 << 20 * 9 / 10
	config := single(t)
	n := lead(t, config)
	var obstacles []string
	for first := range 200 {
		path := filepath.Join(config.DataDir, "raft", fmt.Sprintf("%020d-%016x.wal", first+2, 1))
		if err := os.WriteFile(path, nil, 0o640); err != nil {
			t.Fatal(err)
		}
		obstacles = append(obstacles, path)
	}
	w := watch(t, n, ">")
	acknowledged := make(map[string]uint64)
	var err error
	for i := 0; err == nil; i++ {
		key := fmt.Sprint("k", i)
		var revision uint64
		if revision, err = n.Put(bounded(t), key, []byte(strings.Repeat("x", size))); err == nil {
			acknowledged[key] = revision
			if e := next(t, w); e.Revision != revision {
				t.Fatalf("event of revision %d; want %d", e.Revision, revision)
			}
		}
	}
	if !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("the write that the log does not take: %v; want %v", err, ErrUnknownOutcome)
	}
	select {
	case <-n.Failed():
	case <-bounded(t).Done():
		t.Fatal("the node goes on")
	}
	wantOneLine(t, n.Err(), ErrStorage, config.DataDir, "append to the Raft log: make its next segment", "file exists", "start the node again")
	if _, err := n.Put(bounded(t), "k", nil); !errors.Is(err, ErrStorage) {
		t.Errorf("a write to the node that has stopped: %v; want %v", err, ErrStorage)
	}
	if _, err := n.Get(bounded(t), "k0"); !errors.Is(err, ErrStorage) {
		t.Errorf("a read of it: %v; want %v", err, ErrStorage)
	}
	if e, err := n.Get(bounded(t), "k0", Stale(0)); err != nil || e.Revision != acknowledged["k0"] {
		t.Errorf("a stale read of it: revision %d, %v; want %d", e.Revision, err, acknowledged["k0"])
	}
	if reason := n.unready(); !strings.Contains(reason, "stopped by itself: cannot write to the data directory") {
		t.Errorf("it is not ready because %q", reason)
	}
	if err := w.Err(); err != nil {
		t.Errorf("its watcher ended: %v", err)
	}
	stop(t, n)

	for _, path := range obstacles {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	n = lead(t, config)
	if n.Err() != nil {
		t.Errorf("it has failed already: %v", n.Err())
	}
	for key, revision := range acknowledged {
		if e, err := n.Get(bounded(t), key); err != nil || e.Revision != revision || len(e.Value) != size {
			t.Fatalf("the acknowledged write of %s at %d is lost: %d bytes at %d, %v", key, revision, len(e.Value), e.Revision, err)
		}
	}
	put(t, n, "after", "x")
}
