package node

import (
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
)

// TestSlowClientIsCutOff: a subscriber that takes less than there is, and takes it all the
// time, so that no write to it fails, has every event until it is told by the end of its
// connection.
func TestSlowClientIsCutOff(t *testing.T) {
	t.Parallel()
	c := single(t)
	c.InMemory, c.DataDir = true, ""
	n := lead(t, c)
	road := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
	road.slow(0, 40<<20)
	cut := make(chan struct{})
	slow := subscribe(t, connect(t, road.url(), natsgo.NoReconnect(), natsgo.ClosedHandler(func(*natsgo.Conn) { close(cut) })), "large.>")
	value := string(make([]byte, 256<<10))
	last := uint64(0)
	for over := false; !over; {
		select {
		case <-cut:
			over = true
		default:
			if last++; last > 4000 {
				t.Fatal("it is never cut off")
			}
			put(t, n, fmt.Sprintf("large.%d", last), value)
		}
	}
	slow.mu.Lock()
	defer slow.mu.Unlock()
	for i, e := range slow.events {
		if want := fmt.Sprintf("large.%d", i+1); e.Key != want {
			t.Fatalf("behind %d events comes that of %s", i, e.Key)
		}
	}
	t.Logf("%d of %d events came", len(slow.events), last)
	if n.Status().Slow == 0 { // the broker may count it, too
		t.Error("the status counts no client that was cut off")
	}
	if stalls := n.broker.server.NumStalledClients(); stalls > 0 {
		t.Errorf("until then the publisher was held up %d times", stalls)
	}
}
