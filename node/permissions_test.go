package node

import (
	"errors"
	"fmt"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

// intruder is an ordinary client with its own idea of manners. What the broker
// refuses it arrives in violations.
func intruder(t *testing.T, n *Node) (conn *natsgo.Conn, violations chan error) {
	t.Helper()
	violations = make(chan error, 1024)
	return connect(t, n.NATSURL(), natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
		violations <- err
	})), violations
}

func wantViolation(t *testing.T, violations <-chan error, what string) {
	t.Helper()
	select {
	case err := <-violations:
		if !errors.Is(err, natsgo.ErrPermissionViolation) {
			t.Fatalf("%s: %v; want a permission violation", what, err)
		}
	case <-bounded(t).Done():
		t.Fatalf("%s was not refused", what)
	}
}

// TestClientsCannotForgeEvents: what the node alone may say, a client can
// neither publish nor have the node say by naming it as the subject of an
// answer.
func TestClientsCannotForgeEvents(t *testing.T) {
	n := lead(t, single(t))
	honest := connect(t, n.NATSURL())
	heard := make(chan *natsgo.Msg, 1024)
	for _, subject := range []string{"watch.>", "_watch.reset", "kv.>"} {
		if subject == "kv.>" {
			continue // nobody but the node hears these
		}
		if _, err := honest.ChanSubscribe(subject, heard); err != nil {
			t.Fatal(err)
		}
	}
	if err := honest.Flush(); err != nil {
		t.Fatal(err)
	}
	conn, violations := intruder(t, n)
	for _, subject := range []string{"watch.victim", "watch.a.b", "_watch.beacon", "_watch.reset"} {
		if err := conn.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		wantViolation(t, violations, "publishing on "+subject)
	}
	for _, reply := range []string{"watch.victim", "_watch.reset", "kv.put.victim"} {
		for _, subject := range []string{"kv.get.nothing", "kv.put.decoy", "kv.put", "$SRV.PING", "$SRV.INFO.watchcast"} {
			if err := conn.PublishRequest(subject, reply, []byte("forged")); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What the intruder asked for is answered before this is.
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		request(t, conn, "kv.get.nothing", nil)
		request(t, conn, "kv.put.nothing", nil)
	}
	last := put(t, n, "last", "x")
	for {
		select {
		case m := <-heard:
			e, err := nats.Subjects{Watch: "watch", KV: "kv"}.DecodeEvent(m)
			if err != nil {
				t.Fatalf("forged: %s %v %q: %v", m.Subject, m.Header, m.Data, err)
			}
			if e.Key == "victim" {
				t.Fatalf("forged: %+v", e)
			}
			if e.Revision == last {
				if _, err := n.machine.Get("victim"); err == nil {
					t.Fatal("a write was forged by the subject of an answer")
				}
				return
			}
		case <-bounded(t).Done():
			t.Fatal("the last event did not come")
		}
	}
}

// TestClientsCannotHearRequests: with clients that subscribe to requests in
// every way they can think of, every request is answered by the node, and no
// client has seen one.
func TestClientsCannotHearRequests(t *testing.T) {
	n := lead(t, single(t))
	stolen := make(chan *natsgo.Msg, 1<<16)
	for _, subject := range []string{"kv.>", "kv.put.>", "kv.*.*", "kv.put.k", "kv.put"} {
		for _, group := range []string{"", "q", "watchcast"} {
			conn, violations := intruder(t, n)
			if _, err := conn.ChanQueueSubscribe(subject, group, stolen); err != nil {
				t.Fatal(err)
			}
			wantViolation(t, violations, fmt.Sprintf("subscribing to %s in group %q", subject, group))
		}
	}
	// These contain more than requests, so the broker lets them stand, but
	// passes no request on to them.
	for _, subject := range []string{">", "*.>", "*.*.*", "*.put.*", "*.put.>"} {
		for _, group := range []string{"", "q"} {
			conn, _ := intruder(t, n)
			if _, err := conn.ChanQueueSubscribe(subject, group, stolen); err != nil {
				t.Fatal(err)
			}
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	conn := connect(t, n.NATSURL())
	for i := range 200 {
		reply := request(t, conn, "kv.put.k", []byte(fmt.Sprint(i)))
		if reply.Header.Get(nats.HeaderRev) == "" {
			t.Fatalf("request %d was answered by somebody else: %v", i, reply.Header)
		}
	}
	for len(stolen) > 0 {
		if m := <-stolen; under(m.Subject, "kv") {
			t.Fatalf("a client has heard the request %s %q", m.Subject, m.Data)
		}
	}
}

func under(subject, root string) bool {
	return len(subject) >= len(root) && subject[:len(root)] == root
}

// TestNodeUsersHaveNoMoreThanTheyNeed: the one user of the node that answers
// requests cannot publish events, and the one that publishes events can do
// nothing else.
func TestNodeUsersHaveNoMoreThanTheyNeed(t *testing.T) {
	n := lead(t, single(t))
	for _, c := range []struct {
		user string
		try  func(*natsgo.Conn) error
	}{
		{userService, func(c *natsgo.Conn) error { return c.Publish("watch.k", nil) }},
		{userService, func(c *natsgo.Conn) error { return c.Publish("_watch.reset", nil) }},
		{userService, func(c *natsgo.Conn) error { return c.Publish("kv.put.k", nil) }},
		{userPublisher, func(c *natsgo.Conn) error { return c.Publish("kv.put.k", nil) }},
		{userPublisher, func(c *natsgo.Conn) error { return c.Publish("_INBOX.x", nil) }},
		{userPublisher, func(c *natsgo.Conn) error { _, err := c.SubscribeSync("kv.>"); return err }},
		{userService, func(c *natsgo.Conn) error { _, err := c.SubscribeSync("_INBOX.>"); return err }},
	} {
		violations := make(chan error, 16)
		conn, err := n.broker.connect(c.user, "test", testLogger(t), natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			violations <- err
		}))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.try(conn); err != nil {
			t.Fatal(err)
		}
		wantViolation(t, violations, c.user)
		conn.Close()
	}
}
