package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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
}

// TestClientBehindIsCutOff: a client that stays behind is cut off by the node, before the
// broker holds up somebody for it, or a write to it takes too long.
func TestClientBehindIsCutOff(t *testing.T) {
	t.Parallel()
	c := single(t)
	c.InMemory, c.DataDir = true, ""
	n := lead(t, c)
	value := string(make([]byte, 1000<<10)) // long, so that much waits soon
	conns := func(state server.ConnState) []*server.ConnInfo {
		z, err := n.broker.server.Connz(&server.ConnzOptions{State: state})
		if err != nil {
			t.Fatal(err)
		}
		return z.Conns
	}
	for range 5 { // the machine may be too busy for what is to come within two seconds
		neverRead(t, n.NATSURL())
		late := func(c *server.ConnInfo) bool { return c.Pending > behind }
		for i := 0; i < 200 && !slices.ContainsFunc(conns(server.ConnOpen), late); i++ {
			put(t, n, "k", value)
		}
		eventually(t, "it is gone", func() bool { return !slices.ContainsFunc(conns(server.ConnOpen), late) })
		if slices.ContainsFunc(conns(server.ConnClosed), func(c *server.ConnInfo) bool { return c.Reason == server.Kicked.String() }) {
			return
		}
	}
	t.Error("the node cuts off nobody")
}

// TestLongMessageCutsOffNobody: who is sent one message that is longer than what others are
// cut off for is given the time to take it.
func TestLongMessageCutsOffNobody(t *testing.T) {
	t.Parallel()
	c := single(t)
	c.InMemory, c.DataDir, c.MaxPayload = true, "", behind+1<<20
	n := lead(t, c)
	road := newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
	cut := make(chan struct{})
	conn := connect(t, road.url(), natsgo.NoReconnect(), natsgo.ClosedHandler(func(*natsgo.Conn) { close(cut) }))
	if _, err := conn.SubscribeSync("watch.long"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is known who subscribes", func() bool { return n.broker.server.GlobalAccount().SubscriptionInterest("watch.long") })
	road.hold(false, true)
	put(t, n, "long", string(make([]byte, c.MaxPayload-valueHeadroom)))
	eventually(t, "it waits", func() bool { return len(waitingFor(t, n)) == 1 })
	late, _ := limits(n.config.MaxPayload)
	if slow := n.clientsWith(late); len(slow) > 0 {
		t.Errorf("who is sent %d bytes is cut off for %d that wait", c.MaxPayload, slow[0].Pending)
	}
	select {
	case <-cut:
		t.Error("who is sent a long message is cut off")
	default:
	}
}

// TestLookThatWasHeldUp: one look that took long does not put the next one off; looks that
// do cost much are rarer.
func TestLookThatWasHeldUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ took, before, rest time.Duration }{
		{300 * time.Millisecond, 50 * time.Microsecond, 5 * time.Millisecond},
		{50 * time.Microsecond, 300 * time.Millisecond, 5 * time.Millisecond},
		{20 * time.Millisecond, 30 * time.Millisecond, 2 * time.Second},
		{20 * time.Millisecond, 0, 0}, // the first one
	} {
		if rest := restFor(c.took, c.before); rest != c.rest {
			t.Errorf("behind looks of %v and %v it rests for %v; want %v", c.before, c.took, rest, c.rest)
		}
	}
}
