package node

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

const stuckPuts = 1000

// stuckClient is a NATS client that subscribes to every event and never reads:
// its buffers, the kernel's and the broker's, fill up.
func stuckClient(t *testing.T, url string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"protocol\":1}\r\nSUB watch.> 1\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	for r := bufio.NewReaderSize(conn, 16); ; { // up to the answer, then never again
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("no answer to PING: %v", err)
		}
		if line == "PONG\r\n" {
			return
		}
	}
}

// TestStuckWatchersDelayNobody: with a stuck in-process watcher and stuck NATS
// subscribers, a thousand large puts take no longer than without, and healthy
// watchers beside them get every one, in order.
func TestStuckWatchersDelayNobody(t *testing.T) {
	n := lead(t, single(t))
	value := string(make([]byte, 16<<10)) // 16 MiB in all: more than the buffers on the way
	puts := func(key string) (time.Duration, uint64) {
		start := time.Now()
		var last uint64
		for range stuckPuts {
			last = put(t, n, key, value)
		}
		return time.Since(start), last
	}
	alone, _ := puts("alone")

	stuck := watch(t, n, ">")
	for range 3 {
		stuckClient(t, n.NATSURL())
	}
	healthy := watch(t, n, "beside", fanout.WithBuffer(stuckPuts))
	remote := subscribe(t, connect(t, n.NATSURL()), "beside")
	beside, last := puts("beside")
	t.Logf("%d puts: %v alone, %v beside stuck watchers", stuckPuts, alone, beside)
	// Were a stuck subscriber waited for, it would be until the broker's write
	// deadline of 2 s, again and again.
	if beside > 3*alone+time.Second {
		t.Errorf("%d puts took %v beside stuck watchers, and %v without them", stuckPuts, beside, alone)
	}

	inOrder := func(who string, events []*fanout.Event) {
		t.Helper()
		if len(events) != stuckPuts {
			t.Fatalf("%s received %d events, want %d", who, len(events), stuckPuts)
		}
		for i := 1; i < len(events); i++ {
			if events[i].PrevRevision != events[i-1].Revision {
				t.Fatalf("%s: event %d follows revision %d, not %d", who, i, events[i].PrevRevision, events[i-1].Revision)
			}
		}
	}
	var local []*fanout.Event
	for len(local) < stuckPuts {
		local = append(local, next(t, healthy))
	}
	inOrder("the healthy watcher", local)
	inOrder("the healthy subscriber", remote.seen(last))

	// The stuck one has what its buffer holds, and then knows what it lost.
	for range fanout.DefaultBuffer {
		if e := next(t, stuck); e.Control() {
			t.Fatalf("a loss after fewer events than the buffer holds: %+v", e)
		}
	}
	lost := next(t, stuck)
	if lost.Op != fanout.Lagged || lost.Revision != last || lost.PrevRevision != local[fanout.DefaultBuffer].Revision {
		t.Fatalf("the stuck watcher got %v %d..%d; want the loss of %d..%d",
			lost.Op, lost.PrevRevision, lost.Revision, local[fanout.DefaultBuffer].Revision, last)
	}
	if got, want := stuck.Dropped(), uint64(stuckPuts-fanout.DefaultBuffer); got != want {
		t.Errorf("dropped is %d, want %d", got, want)
	}
}

// TestStalledBrokerDelaysNoWrite: while the broker of the node takes nothing
// from the publisher, writes and in-process watchers go on, and nothing is
// missing afterwards.
func TestStalledBrokerDelaysNoWrite(t *testing.T) {
	n := lead(t, single(t))
	remote := subscribe(t, connect(t, n.NATSURL()), "k")
	put(t, n, "k", "first")
	w := watch(t, n, "k", fanout.WithBuffer(stuckPuts))

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
	for i := range stuckPuts {
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
	if len(seen) != stuckPuts+1 {
		t.Errorf("%d different events arrived, want %d", len(seen), stuckPuts+1)
	}
	remote.noResets()
}
