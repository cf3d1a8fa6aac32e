package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// TestConcurrentWriters has many goroutines write few keys, and holds what they
// were told against what watchers of two kinds and a NATS subscriber saw.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	const writers, each, keys = 64, 25, 8
	n := lead(t, single(t))
	all := watch(t, n, ">", fanout.WithBuffer(writers*each))
	published := subscribe(t, connect(t, n.NATSURL()), ">")
	one, err := n.WatchKey(context.Background(), "key.0", fanout.WithBuffer(writers*each))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Stop)

	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		wrote = make(map[uint64]string) // revision to value
		newer = make(map[string]uint64) // key to newest revision
		last  uint64
	)
	for i := range writers {
		wg.Go(func() {
			var before uint64
			for j := range each {
				key, value := fmt.Sprintf("key.%d", (i+j)%keys), fmt.Sprintf("%d/%d", i, j)
				revision, err := n.Put(bounded(t), key, []byte(value))
				if err != nil || revision <= before {
					t.Errorf("put: revision %d after %d, %v", revision, before, err)
					return
				}
				before = revision
				mu.Lock()
				if wrote[revision] != "" {
					t.Errorf("two writes have revision %d", revision)
				}
				wrote[revision] = key + "=" + value
				newer[key] = max(newer[key], revision)
				last = max(last, revision)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}

	check := func(who string, next func(i int) *fanout.Event, count int, wanted func(key string) bool) {
		t.Helper()
		var before uint64
		chain := make(map[string]uint64)
		for i := range count {
			e := next(i)
			if got := e.Key + "=" + string(e.Value); wrote[e.Revision] != got || !wanted(e.Key) {
				t.Fatalf("%s received %s at revision %d; written was %q", who, got, e.Revision, wrote[e.Revision])
			}
			if e.Revision <= before || e.PrevRevision != chain[e.Key] {
				t.Fatalf("%s received revision %d (previous %d) after %d, and the key was at %d", who, e.Revision, e.PrevRevision, before, chain[e.Key])
			}
			before, chain[e.Key] = e.Revision, e.Revision
		}
	}
	any := func(string) bool { return true }
	events := published.seen(last)
	if len(events) != writers*each {
		t.Fatalf("%d events were published; want %d", len(events), writers*each)
	}
	check("the subscriber", func(i int) *fanout.Event { return events[i] }, len(events), any)
	check("the watcher of all", func(int) *fanout.Event { return next(t, all) }, writers*each, any)
	check("the watcher of a key", func(int) *fanout.Event { return next(t, one) }, writers*each/keys, func(key string) bool { return key == "key.0" })
	for key, revision := range newer {
		if e, err := n.Get(bounded(t), key); err != nil || e.Revision != revision {
			t.Errorf("%s is at %d, %v; the newest write has %d", key, e.Revision, err, revision)
		}
	}
}

// TestReadsSeeWrites reads in one goroutine what another has just written.
func TestReadsSeeWrites(t *testing.T) {
	t.Parallel()
	const readers, writes = 8, 200
	n := lead(t, single(t))
	conn := connect(t, n.NATSURL())
	read := [2]func() (uint64, error){
		func() (uint64, error) {
			e, err := n.Get(bounded(t), "k")
			return e.Revision, err
		},
		func() (uint64, error) {
			reply, err := conn.RequestWithContext(bounded(t), "kv.get.k", nil)
			if err != nil {
				return 0, err
			}
			return revisionOf(reply)
		},
	}
	revisions := make(chan uint64)
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			for revision := range revisions {
				at, err := read[i%2]()
				if err != nil || at < revision {
					t.Errorf("read revision %d, %v, after revision %d was acknowledged", at, err, revision)
				}
			}
		})
	}
	for i := range writes {
		revisions <- put(t, n, "k", fmt.Sprint(i))
	}
	close(revisions)
	wg.Wait()
}

// TestCompareAndSwap counts by conditional writes: no increment is lost.
func TestCompareAndSwap(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 10
	n := lead(t, single(t))
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				e, err := n.Get(bounded(t), "count")
				if err != nil && !errors.Is(err, fsm.ErrNotFound) {
					t.Errorf("get: %v", err)
					return
				}
				switch _, err := n.Put(bounded(t), "count", append(e.Value[:len(e.Value):len(e.Value)], 'x'), IfRevision(e.Revision)); {
				case err == nil:
					done++
				case !errors.Is(err, fsm.ErrConflict):
					t.Errorf("put: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if e, err := n.Get(bounded(t), "count"); err != nil || len(e.Value) != writers*each {
		t.Fatalf("counted to %d, %v; want %d", len(e.Value), err, writers*each)
	}
}
