package node

import (
	"context"
	"fmt"
	"strings"
	"sync"
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
	road.slow(0, 16<<20)
	cut := make(chan struct{})
	slow := subscribe(t, connect(t, road.url(), natsgo.NoReconnect(), natsgo.ClosedHandler(func(*natsgo.Conn) { close(cut) })), "large.>")
	value := string(make([]byte, 256<<10))
	last := uint64(0)
	for over := false; !over && last < 1500; {
		last++
		revision := put(t, n, fmt.Sprintf("large.%d", last%100), value)
		eventually(t, "it is published", func() bool { return n.Status().Publish.Confirmed >= revision }) // before the ring overruns
		select {
		case <-cut:
			over = true
		default:
		}
	}
	select {
	case <-cut: // with what was on its way when nobody wrote any more
	case <-time.After(patience):
		t.Fatal("it is never cut off")
	}
	slow.mu.Lock()
	defer slow.mu.Unlock()
	for i, e := range slow.events {
		if want := fmt.Sprintf("large.%d", (i+1)%100); e.Key != want {
			t.Fatalf("behind %d events comes that of %s", i, e.Key)
		}
	}
	t.Logf("%d of %d events came", len(slow.events), last)
	if n.Status().Slow == 0 {
		t.Error("the status counts no client that was cut off")
	}
}

// TestClientBehindIsCutOff: a client that is behind for a second is cut off by the node, though
// the broker would wait for it longer.
func TestClientBehindIsCutOff(t *testing.T) {
	t.Parallel()
	b := &broker{config: &Config{MaxPayload: 1 << 20}}
	b.server = bareBroker(t, "n1", mostWaiting, func(*Config) {})
	conns := func(state server.ConnState) []*server.ConnInfo {
		z, err := b.server.Connz(&server.ConnzOptions{State: state})
		if err != nil {
			t.Fatal(err)
		}
		return z.Conns
	}
	waiting := func(than int) (with []uint64) {
		for _, c := range conns(server.ConnOpen) {
			if c.Pending > than {
				with = append(with, c.Cid)
			}
		}
		return with
	}
	publish := func(than int) { // until so much waits for one
		conn := connect(t, b.server.ClientURL())
		for len(waiting(than)) == 0 {
			if err := conn.Publish("watch.k", make([]byte, 256<<10)); err != nil {
				t.Fatal(err)
			}
			if err := conn.FlushWithContext(bounded(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	neverRead(t, b.server.ClientURL())
	publish(behind)
	late := waiting(behind)
	began := time.Now()
	ctx, cancel := context.WithCancel(bounded(t))
	var cutting sync.WaitGroup
	cutting.Go(func() { b.cutSlow(ctx, testLogger(t)) })
	defer cutting.Wait()
	defer cancel()
	eventually(t, "it is cut off", func() bool { return len(conns(server.ConnClosed)) > 0 })
	if took := time.Since(began); took < behindTime {
		t.Errorf("it was cut off after %v; want %v", took, behindTime)
	}
	closed := conns(server.ConnClosed)
	if len(closed) != 1 || closed[0].Cid != late[0] || closed[0].Reason != server.Kicked.String() || b.slowClients() != 1 {
		t.Errorf("%d were cut off: %+v", b.slowClients(), closed)
	}
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
	if slow := n.broker.clientsWith(late, nil); len(slow) > 0 {
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
