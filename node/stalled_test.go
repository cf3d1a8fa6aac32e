package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

const stalledPuts = 1000

// TestStalledBrokerDelaysNoWrite: while the broker of the node takes nothing
// from the publisher, writes and in-process watchers go on, and nothing is
// missing afterwards.
func TestStalledBrokerDelaysNoWrite(t *testing.T) {
	n := lead(t, single(t))
	remote := subscribe(t, connect(t, n.NATSURL()), "k")
	put(t, n, "k", "first")
	w := watch(t, n, "k", fanout.WithBuffer(stalledPuts))

	// Nothing the publisher writes gets through: its connection is closed for
	// it, again and again, as by a broker that cuts it off.
	ctx, cancel := context.WithCancel(context.Background())
	cutting := make(chan struct{})
	go func() {
		defer close(cutting)
		for ctx.Err() == nil {
			n.publisherConn.ForceReconnect()
			pause(ctx, 5*time.Millisecond)
		}
	}()
	var last uint64
	for i := range stalledPuts {
		last = put(t, n, "k", fmt.Sprint(i))
		if e := next(t, w); e.Revision != last {
			t.Fatalf("watcher is at %d, want %d", e.Revision, last)
		}
	}
	cancel()
	<-cutting
	seen := make(map[uint64]bool)
	for _, e := range remote.seen(last) {
		seen[e.Revision] = true
	}
	if len(seen) != stalledPuts+1 {
		t.Errorf("%d different events arrived, want %d", len(seen), stalledPuts+1)
	}
	remote.noResets()
}
