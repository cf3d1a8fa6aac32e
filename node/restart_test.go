package node

import (
	"fmt"
	"testing"
)

const restartKeys = 100

// TestRestart closes a node and starts it again: it has its data, and nobody
// hears again of what was announced before.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		between func(*testing.T, *Node)
	}{
		{"log only", func(*testing.T, *Node) {}},
		{"snapshot", func(t *testing.T, n *Node) { takeSnapshot(t, n) }},
		{"snapshot instead of the log", func(t *testing.T, n *Node) {
			keepNoLog(t, n)
			takeSnapshot(t, n)
		}},
		{"snapshot and some log", func(t *testing.T, n *Node) {
			keepNoLog(t, n)
			takeSnapshot(t, n)
			put(t, n, "after.snapshot", "x")
		}},
		{"deleted at last", func(t *testing.T, n *Node) {
			put(t, n, "gone", "x")
			if _, err := n.Delete(bounded(t), "gone"); err != nil {
				t.Fatal(err)
			}
		}},
		{"refused at last", func(t *testing.T, n *Node) {
			if _, err := n.Delete(bounded(t), "never.there"); err == nil {
				t.Fatal("a key that never was is deleted")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testRestart(t, c.between)
		})
	}
}

func testRestart(t *testing.T, between func(*testing.T, *Node)) {
	config := single(t)
	n := lead(t, config)
	revisions := make([]uint64, restartKeys)
	for i := range revisions {
		revisions[i] = put(t, n, fmt.Sprintf("key.%d", i), fmt.Sprint(i))
	}
	between(t, n)
	last := n.Revision()
	stop(t, n)

	n = start(t, config)
	published := subscribe(t, connect(t, n.NATSURL()), ">")
	w := watch(t, n, ">")
	waitReady(t, n)
	if n.Revision() != last {
		t.Fatalf("revision is %d after the restart; it was %d", n.Revision(), last)
	}
	for i, revision := range revisions {
		wantValue(t, n, fmt.Sprintf("key.%d", i), fmt.Sprint(i), revision)
	}
	published.silentUntilBeacon()
	if e, ok := w.TryNext(); ok {
		t.Fatalf("an in-process watcher received %+v again", e)
	}
	stop(t, n)

	// Once more, because the second life has announced nothing of its own.
	n = start(t, config)
	published = subscribe(t, connect(t, n.NATSURL()), ">")
	w = watch(t, n, ">")
	revision := put(t, n, "key.0", "news")
	if e := next(t, w); e.Revision != revision || e.PrevRevision != revisions[0] {
		t.Fatalf("the first event is %+v; want revision %d after %d", e, revision, revisions[0])
	}
	if got := published.seen(revision); len(got) != 1 {
		t.Fatalf("%d events were published, the first is %+v; want that of revision %d only", len(got), got[0], revision)
	}
	published.noResets()
}

func takeSnapshot(t *testing.T, n *Node) {
	t.Helper()
	if err := n.consensus.raft.Snapshot().Error(); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
}

// keepNoLog makes the next snapshot replace the log.
func keepNoLog(t *testing.T, n *Node) {
	t.Helper()
	c := n.consensus.raft.ReloadableConfig()
	c.TrailingLogs = 1
	if err := n.consensus.raft.ReloadConfig(c); err != nil {
		t.Fatal(err)
	}
}
