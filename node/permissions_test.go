package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
)

// refusals returns an option that collects what the broker refuses.
func refusals() (natsgo.Option, <-chan error) {
	refused := make(chan error, 1024)
	return natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) { refused <- err }), refused
}

func wantRefusal(t *testing.T, refused <-chan error, action, subject string) {
	t.Helper()
	select {
	case err := <-refused:
		text := strings.ToLower(err.Error())
		if !errors.Is(err, natsgo.ErrPermissionViolation) || !strings.Contains(text, fmt.Sprintf("%s to %q", action, strings.ToLower(subject))) {
			t.Fatalf("%s to %s: %v; want a permissions violation", action, subject, err)
		}
	case <-bounded(t).Done():
		t.Fatalf("%s to %s was not refused", action, subject)
	}
}

// spy receives everything that the broker gives an ordinary client.
func spy(t *testing.T, n *Node, subject, queue string) <-chan *natsgo.Msg {
	t.Helper()
	messages := make(chan *natsgo.Msg, 4096)
	conn := connect(t, n.NATSURL())
	if _, err := conn.ChanQueueSubscribe(subject, queue, messages); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushWithContext(bounded(t)); err != nil {
		t.Fatal(err)
	}
	return messages
}

func receive(t *testing.T, messages <-chan *natsgo.Msg) *natsgo.Msg {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-bounded(t).Done():
		t.Fatal("no message came")
		panic("unreachable")
	}
}

// TestClientsCannotForge publishes events and beacons as an ordinary client.
func TestClientsCannotForge(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	events, beacons := spy(t, n, "watch.>", ""), spy(t, n, "_watch.>", "")
	option, refused := refusals()
	conn := connect(t, n.NATSURL(), option)
	for _, subject := range []string{"watch.x", "watch.a.b", "_watch.beacon", "_watch.reset", "_watch.ack"} {
		m := natsgo.NewMsg(subject)
		m.Header.Set("Watch-Op", "put")
		m.Header.Set("Watch-Rev", "1")
		m.Data = []byte("forged")
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "publish", subject)
	}
	revision := put(t, n, "x", "real")
	m := receive(t, events)
	if at, err := revisionOf(m); err != nil || at != revision || string(m.Data) != "real" {
		t.Fatalf("the first event is %q at %d, %v; want the real one at %d", m.Data, at, err, revision)
	}
	for range len(beacons) {
		if m := <-beacons; strings.Contains(string(m.Data), "forged") {
			t.Fatalf("%s carries %q", m.Subject, m.Data)
		}
	}
}

// TestClientsCannotListenToRequests subscribes in every way that could catch a
// request, or take it away from the node.
func TestClientsCannotListenToRequests(t *testing.T) {
	t.Parallel()
	const requests = 200
	n := lead(t, single(t))
	for _, subject := range []string{"kv.>", "kv.*", "kv.put.>", "kv.put.*", "kv.put.k", "kv.get.>", "kv.batch"} {
		for _, queue := range []string{"", "q", "watchcast"} {
			option, refused := refusals()
			conn := connect(t, n.NATSURL(), option)
			if _, err := conn.QueueSubscribe(subject, queue, func(m *natsgo.Msg) { t.Errorf("received %s", m.Subject) }); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, refused, "subscription", subject)
		}
	}

	// What is wider than the denied subject is let in, and must stay deaf.
	var caught []<-chan *natsgo.Msg
	for _, subject := range []string{">", "*.>", "*.*.>", "*.put.>", "*.put.*", "*.*.*", "*.*.k", "*.get.k"} {
		for _, queue := range []string{"", "q", "watchcast"} {
			caught = append(caught, spy(t, n, subject, queue))
		}
	}
	conn := connect(t, n.NATSURL())
	for i := range requests {
		op := [...]string{"put", "get"}[i%2]
		if _, err := revisionOf(request(t, conn, "kv."+op+".k", []byte(fmt.Sprint(i)))); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	for _, messages := range caught {
		for range len(messages) {
			if m := <-messages; strings.HasPrefix(m.Subject, "kv.") {
				t.Fatalf("a client's subscription to %s received %s", m.Sub.Subject, m.Subject)
			}
		}
	}
	wantValue(t, n, "k", fmt.Sprint(requests-2), n.Revision())
}

// TestNodeCannotBeMadeToForge requests with reply subjects that the node would
// write to on the client's behalf.
func TestNodeCannotBeMadeToForge(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	events, control := spy(t, n, "watch.>", ""), spy(t, n, "_watch.>", "")
	planted := put(t, n, "k", "planted")
	receive(t, events)

	conn := connect(t, n.NATSURL())
	for _, reply := range []string{"watch.victim", "_watch.beacon", "_watch.reset", "kv.put.victim", "kv.delete.k"} {
		for _, subject := range []string{"kv.get.k", "kv.get.absent", "kv.get", "kv.put", "kv.put.%zz", "kv.delete.absent", "kv.steal.k", "kv.list", "kv.since", "kv.stale.list", "$SRV.PING", "$SRV.INFO.watchcast", "$SRV.STATS.watchcast"} {
			if err := conn.PublishRequest(subject, reply, []byte("forged")); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Requests of one client are answered in order, so all of those are done.
	if _, err := revisionOf(request(t, conn, "kv.put.x", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	wantValue(t, n, "k", "planted", planted)
	if reply := request(t, conn, "kv.get.victim", nil); reply.Header.Get("Nats-Service-Error-Code") != "404" {
		t.Fatalf("the node was made to write: %v %q", reply.Header, reply.Data)
	}
	revision := put(t, n, "victim", "real")
	m := receive(t, events)
	for m.Subject == "watch.x" {
		m = receive(t, events)
	}
	if at, err := revisionOf(m); m.Subject != "watch.victim" || err != nil || at != revision {
		t.Fatalf("received %v %q on %s", m.Header, m.Data, m.Subject)
	}
	for range len(control) {
		if m := <-control; m.Subject != "_watch.beacon" && m.Subject != "_watch.ack" || !strings.HasPrefix(string(m.Data), `{"cluster"`) {
			t.Fatalf("received %v %q on %s", m.Header, m.Data, m.Subject)
		}
	}
}

// TestNodeUsers holds the permissions of the node's own two connections, which
// its clients only meet indirectly.
func TestNodeUsers(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	everything := spy(t, n, ">", "")
	for _, c := range []struct {
		user               string
		publish, subscribe []string
	}{
		{userService, []string{"watch.x", "_watch.beacon", "_watch.ack", "kv.put.x"}, []string{"watch.>", ">", "_watch.>", "_watch.*", "_watch.other"}},
		{userPublisher, []string{"kv.put.x", "_INBOX.x", "other"}, []string{"watch.>", "kv.>", ">", "_watch.beacon", "_watch.ack"}},
		{userClient, []string{"watch.x", "_watch.beacon"}, []string{"kv.>"}},
	} {
		option, refused := refusals()
		conn, err := n.broker.connect(c.user, "test", n.log, option)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		for _, subject := range c.publish {
			if err := conn.Publish(subject, []byte("forged")); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, refused, "publish", subject)
		}
		for _, subject := range c.subscribe {
			if _, err := conn.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, refused, "subscription", subject)
		}
	}
	put(t, n, "last", "x")
	for m := receive(t, everything); m.Subject != "watch.last"; m = receive(t, everything) {
		if string(m.Data) == "forged" {
			t.Fatalf("%s was published", m.Subject)
		}
	}
}

// TestUnknownUserIsRefused holds that showing wrong credentials is worse than
// showing none.
func TestUnknownUserIsRefused(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	for _, option := range []natsgo.Option{natsgo.UserInfo("service", "x"), natsgo.UserInfo(userRoute, ""), natsgo.Token("x")} {
		conn, err := natsgo.Connect(n.NATSURL(), option)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, natsgo.ErrAuthorization) {
			t.Errorf("connected with made-up credentials: %v", err)
		}
	}
}

// TestOtherRoots holds that the permissions follow the configured roots.
func TestOtherRoots(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.Subjects.Watch, config.Subjects.KV = "live.watch", "store"
	n := lead(t, config)
	option, refused := refusals()
	conn := connect(t, n.NATSURL(), option)
	for _, subject := range []string{"live.watch.x", "_live.watch.beacon"} {
		if err := conn.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "publish", subject)
	}
	if _, err := conn.SubscribeSync("store.>"); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, refused, "subscription", "store.>")
	sub, err := conn.SubscribeSync("live.watch.>")
	if err != nil {
		t.Fatal(err)
	}
	revision, err := revisionOf(request(t, conn, "store.put.k", []byte("v")))
	if err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsgWithContext(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if at, err := revisionOf(m); err != nil || at != revision || m.Subject != "live.watch.k" {
		t.Fatalf("received %s at %d, %v; want live.watch.k at %d", m.Subject, at, err, revision)
	}
}
