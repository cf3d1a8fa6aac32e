package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

const (
	stuckPuts  = 1000
	stuckValue = 24 << 10 // together more than the broker and the kernel hold for a connection

	// stuckRatio is far above what the noise of a busy machine makes of 1,
	// and far below what a put that waited for a watcher would.
	stuckRatio = 3
)

// TestStuckWatchers writes to two nodes in turn, one of which has a watcher and
// a subscriber that never read. Its writes take no longer, and who does read
// there misses nothing.
func TestStuckWatchers(t *testing.T) {
	free, burdened := lead(t, single(t)), lead(t, single(t))
	stuckWatcher := watch(t, burdened, ">", fanout.WithBuffer(10))
	neverRead(t, burdened.NATSURL())
	healthy := watch(t, burdened, ">", fanout.WithBuffer(stuckPuts))
	published := subscribe(t, connect(t, burdened.NATSURL()), ">")

	ctx := bounded(t)
	value := make([]byte, stuckValue)
	revisions := make([]uint64, stuckPuts)
	timed := func(n *Node, key string) (uint64, time.Duration) {
		begin := time.Now()
		revision, err := n.Put(ctx, key, value)
		if err != nil {
			t.Fatalf("put %s: %v", key, err)
		}
		return revision, time.Since(begin)
	}
	var without, with time.Duration
	for i := range stuckPuts {
		key := fmt.Sprintf("key.%d", i)
		_, took := timed(free, key)
		without += took
		revisions[i], took = timed(burdened, key)
		with += took
	}
	t.Logf("%d puts: %v without stuck watchers, %v with", stuckPuts, without, with)
	if with > stuckRatio*without {
		t.Errorf("%d puts took %v with stuck watchers and %v without", stuckPuts, with, without)
	}

	for i, revision := range revisions {
		if e := next(t, healthy); e.Revision != revision || e.Control() {
			t.Fatalf("event %d of the healthy watcher is %v of revision %d; want revision %d", i, e.Op, e.Revision, revision)
		}
	}
	events := published.seen(revisions[stuckPuts-1])
	if len(events) != stuckPuts {
		t.Fatalf("the healthy subscriber received %d events; want %d", len(events), stuckPuts)
	}
	for i, e := range events {
		if e.Revision != revisions[i] {
			t.Fatalf("event %d of the healthy subscriber is revision %d; want %d", i, e.Revision, revisions[i])
		}
	}
	published.noResets()

	// The stuck ones were stuck indeed, and are told, or cut off.
	for i := range 10 {
		if e := next(t, stuckWatcher); e.Revision != revisions[i] {
			t.Fatalf("event %d of the stuck watcher is %v of revision %d; want revision %d", i, e.Op, e.Revision, revisions[i])
		}
	}
	if e := next(t, stuckWatcher); e.Op != fanout.Lagged || e.PrevRevision != revisions[10] || e.Revision != revisions[stuckPuts-1] {
		t.Fatalf("the stuck watcher is told of %v %d..%d; want what it lost, %d..%d", e.Op, e.PrevRevision, e.Revision, revisions[10], revisions[stuckPuts-1])
	}
	eventually(t, "the broker cuts the stuck subscriber off", func() bool { return burdened.broker.server.NumSlowConsumers() > 0 })
}

// neverRead subscribes to all events on a bare connection, and reads none.
func neverRead(t *testing.T, natsURL string) {
	t.Helper()
	u, err := url.Parse(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB watch.> 1\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewReader(conn); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the broker does not take the subscription: %v", err)
		}
		if strings.HasPrefix(line, "PONG") {
			return
		}
	}
}
