package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/internal/freeport"
)

// threeBrokers runs the configuration in docs/operations.md for brokers of one's own:
// three processes of nats-server that form a cluster, with users and TLS.
func threeBrokers(t *testing.T) (brokers []*natsServer, files RaftTLS) {
	t.Helper()
	run := natsServers(t)
	files = newAuthority(t).issue()
	var clients, routes []string
	for range 3 {
		clients, routes = append(clients, freeport.Address(t)), append(routes, freeport.Address(t))
	}
	for i := range 3 {
		brokers = append(brokers, run(sample(t, "broker.conf",
			"server_name: b1", fmt.Sprintf("server_name: b%d", i+1),
			"0.0.0.0:4222", clients[i], "0.0.0.0:6222", routes[i],
			"b2:6222", routes[(i+1)%3], "b3:6222", routes[(i+2)%3],
			"/etc/nats/server.pem", files.Cert, "/etc/nats/server.key", files.Key,
		), clients[i]))
	}
	return brokers, files
}

// oneBroker is a nats-server without users, in this process.
func oneBroker(t *testing.T, maxPayload int32, change ...func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, MaxPayload: maxPayload, NoSigs: true}
	for _, c := range change {
		c(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(patience) {
		t.Fatal("the broker does not listen")
	}
	return s
}

// TestStartNeedsNoDeadline: a node at a broker of one's own starts with a context that has
// no deadline, as a program's has.
func TestStartNeedsNoDeadline(t *testing.T) {
	t.Parallel()
	c := single(t)
	c.NATS, c.NATSURL = "", oneBroker(t, 0).ClientURL()
	n, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, n)
}

// TestValuesFitTheBroker: a cluster that is founded at a broker of one's own allows no
// value that this broker does not take.
func TestValuesFitTheBroker(t *testing.T) {
	t.Parallel()
	const takes = 64 << 10
	c := single(t)
	c.NATS, c.NATSURL = "", oneBroker(t, takes).ClientURL()
	n := lead(t, c)
	if cluster, _ := n.machine.Cluster(); cluster.MaxValueBytes != takes-valueHeadroom {
		t.Errorf("values may have %d bytes, and the broker takes messages of %d", cluster.MaxValueBytes, takes)
	}
	if _, err := n.Put(bounded(t), "k", make([]byte, takes)); !errors.Is(err, fsm.ErrValueTooLarge) {
		t.Errorf("a value of %d bytes: %v", takes, err)
	}
}

// as is the URL of brokers for a user.
func as(user, password string, brokers ...*natsServer) string {
	var urls []string
	for _, b := range brokers {
		urls = append(urls, "tls://"+url.UserPassword(user, password).String()+"@"+b.addr)
	}
	return strings.Join(urls, ",")
}

func onBrokers(t *testing.T, brokers []*natsServer, files RaftTLS) Config {
	t.Helper()
	c := single(t)
	c.NATS = ""
	c.NATSURL = as("service", "change-this-2", brokers...)
	c.NATSPublisherURL = as("publisher", "change-this-1", brokers...)
	c.NATSTLS.CA = files.CA
	return c
}

// TestBrokersOfOnesOwn: clients have the rules of every client, a user of one prefix
// has that, and when the broker that the node publishes at is killed it goes on at
// another one, for a subscriber at a third.
func TestBrokersOfOnesOwn(t *testing.T) {
	t.Parallel()
	brokers, files := threeBrokers(t)
	n := lead(t, onBrokers(t, brokers, files))
	ca := natsgo.RootCAs(files.CA)
	t.Run("rules", func(t *testing.T) {
		wantClientRules(t, n, as("admin", "change-this-3", brokers[0]), ca)
	})
	t.Run("one prefix", func(t *testing.T) {
		option, refused := refusals()
		wantOnlyApp(t, n, connect(t, as("app", "change-this-4", brokers[1]), ca, option, natsgo.CustomInboxPrefix("_INBOX_app")), refused)
	})

	publishes, serves := n.publisherConn.ConnectedAddr(), n.serviceConn.ConnectedAddr()
	third := slices.IndexFunc(brokers, func(b *natsServer) bool { return b.addr != publishes && b.addr != serves })
	conn := connect(t, as("admin", "change-this-3", brokers[third]), ca)
	events := subscribe(t, conn, ">")
	eventually(t, "the node's broker knows of the subscription", func() bool {
		ctx, cancel := context.WithTimeout(bounded(t), time.Second)
		defer cancel()
		return events.hears(ctx, put(t, n, "before", "x"))
	})

	killed := slices.IndexFunc(brokers, func(b *natsServer) bool { return b.addr == publishes })
	brokers[killed].kill()
	first := put(t, n, "after", "x")
	events.seen(first)
	if n.publisherConn.ConnectedAddr() == publishes {
		t.Errorf("the node is still connected to %s", publishes)
	}
	asked := func(key string) {
		t.Helper()
		var revision uint64
		eventually(t, "a request is answered", func() bool { // one on its way to the broker that died is lost
			reply, err := conn.Request("kv.put."+key, []byte("x"), time.Second)
			if err == nil {
				revision, err = revisionOf(reply)
			}
			return err == nil
		})
		events.seen(revision)
	}
	asked("two")
	for i, b := range brokers {
		if i != third {
			b.kill() // both connections have nowhere else to go
		}
	}
	eventually(t, "both connections are at the last broker", func() bool {
		return n.publisherConn.ConnectedAddr() == brokers[third].addr && n.serviceConn.ConnectedAddr() == brokers[third].addr
	})
	asked("one")
	events.noResets()
}

// TestSharedUser: with one user for both connections the node runs, says once what
// that means, and it means it: an answer can be made an event.
func TestSharedUser(t *testing.T) {
	t.Parallel()
	broker := externalBroker(t)
	log := &logged{}
	config := onBroker(t, broker)
	config.Logger = slog.New(slog.NewTextHandler(log, nil))
	n := lead(t, config)
	if said := log.lines("forge"); len(said) != 1 || !strings.Contains(said[0], "--nats-publisher-") {
		t.Errorf("the log says %q; want one line", said)
	}
	put(t, n, "k", "planted")
	sub, err := broker.SubscribeSync("watch.victim")
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.PublishRequest("kv.get.k", "watch.victim", nil); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsgWithContext(bounded(t)); err != nil || string(m.Data) != "planted" {
		t.Errorf("the forged event: %v, %v", m, err)
	}
}

// TestRefusedLogin: a broker that does not know a user makes a start fail with one
// line that names the connection, and no password.
func TestRefusedLogin(t *testing.T) {
	t.Parallel()
	addr := freeport.Address(t)
	natsServers(t)(natsConfigFile(t, `listen: "`+addr+`", authorization { users: [ {user: known, password: good-secret} ] }`), addr)
	good, bad, unknown := "nats://known:good-secret@"+addr, "nats://known:bad-secret@"+addr, "nats://unknown:good-secret@"+addr
	for _, c := range []struct{ name, url, publisher, mentions string }{
		{"service", bad, good, "as service"},
		{"publisher", good, bad, "as publisher"},
		{"both", unknown, "", "as publisher"},
		{"none", "nats://" + addr, "", "as publisher"},
		{"several URLs", bad + "," + unknown, "", "as publisher"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := single(t)
			config.NATS, config.NATSURL, config.NATSPublisherURL = "", c.url, c.publisher
			n, err := Start(bounded(t), config)
			if err == nil {
				stop(t, n)
				t.Fatal("it starts")
			}
			if text := err.Error(); strings.Contains(text, "secret") || strings.Contains(text, "\n") || !strings.Contains(text, addr) ||
				!strings.Contains(text, "refuses the credentials") || !strings.Contains(text, c.mentions) {
				t.Errorf("the error is %q", text)
			}
		})
	}
}

// TestUserThatMayNotServe: a node whose user at the brokers may not hear requests does
// not start; one whose publisher may not publish says so, by the subject.
func TestUserThatMayNotServe(t *testing.T) {
	t.Parallel()
	addr := freeport.Address(t)
	natsServers(t)(natsConfigFile(t, `listen: "`+addr+`", authorization { users: [
		{user: service, password: s, permissions: {subscribe: ["kv.>", "_watch.>", "$SRV.>"]}}
		{user: deaf, password: s, permissions: {subscribe: ["kv.get.>", "_watch.>", "$SRV.>"]}}
		{user: dumb, password: s, permissions: {publish: ["watch.other.>", "_watch.>"]}}
	] }`), addr)
	config := single(t)
	config.NATS, config.NATSURL = "", "nats://deaf:s@"+addr
	n, err := Start(bounded(t), config)
	if err == nil {
		stop(t, n)
	}
	wantOneLine(t, err, ErrNotAllowed, addr, "as service may not hear requests", "kv.>, _watch.> and $SRV.>", "kv.stale.get.")

	log := &logged{}
	config.Logger = slog.New(slog.NewTextHandler(log, nil))
	config.NATSURL, config.NATSPublisherURL = "nats://service:s@"+addr, "nats://dumb:s@"+addr
	n = lead(t, config)
	put(t, n, "k", "v")
	eventually(t, "the log says what is refused", func() bool {
		said := log.lines("the broker refuses what is published")
		return len(said) > 0 && strings.Contains(said[0], "watch.k")
	})
}
