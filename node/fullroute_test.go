package node

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/nats"
)

// bareBroker runs a broker with a node's settings, but for who may connect, for less that may
// wait, and for routes that are given up late.
func bareBroker(t *testing.T, id string, waiting int64, change func(*Config)) *server.Server {
	t.Helper()
	c := Config{ID: id, NATS: "127.0.0.1:0", Routes: freeport.Address(t), ClusterSecret: "long enough", Logger: testLogger(t), MaxPayload: 1 << 20}
	change(&c)
	o, err := brokerOptions(&c, map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	o.Nkeys, o.NoAuthUser, o.NoLog = nil, "", true
	o.MaxPending, o.WriteDeadline, o.Cluster.PingInterval = waiting, patience, patience
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatalf("the broker was not ready within %v", patience)
	}
	return s
}

// TestFullRoute: the leader's broker holds all that it may for a route that stands still for
// a moment, and does not break. Who is at the other end has everything that a beacon calls
// published.
func TestFullRoute(t *testing.T) {
	t.Parallel()
	const waiting = 8 << 20
	var road *link
	far := bareBroker(t, "far", mostWaiting, func(c *Config) { road = newLink(t, c.Routes) })
	near := bareBroker(t, "near", waiting, func(c *Config) { c.JoinRoutes, c.routesAdvertise = []string{road.addr()}, nowhere })
	eventually(t, "there is a route", func() bool { return near.NumRoutes() == 1 && far.NumRoutes() == 1 })
	conn := connect(t, far.ClientURL())
	heard := subscribe(t, conn, ">")
	eventually(t, "it is known who subscribes", func() bool { return near.GlobalAccount().SubscriptionInterest("watch.k") })

	ring, err := fanout.NewRing(fanout.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := nats.NewPublisher(nats.PublisherOptions{
		Conn: connect(t, "", append(nats.PublisherConn(), nats.InProcess(near))...),
		Ring: ring, Subjects: heard.subjects, Cluster: "c", Term: 1, Node: "near",
	})
	if err != nil {
		t.Fatal(err)
	}
	go p.Run(bounded(t))
	inRoute := func() int {
		z, err := near.Routez(nil)
		if err != nil || len(z.Routes) != 1 {
			t.Fatalf("the routes are %+v, %v", z, err)
		}
		return z.Routes[0].Pending
	}
	road.hold(true, false)
	last := uint64(0)
	for last < 400 && inRoute() < waiting*7/8 {
		for range 8 {
			last++
			ring.Push(&fanout.Event{Op: fanout.Put, Key: "k", Revision: last, PrevRevision: last - 1, Value: make([]byte, 64<<10), Time: time.Unix(0, 1)})
		}
		ring.Flush()
		if err := p.WaitConfirmed(bounded(t), last); err != nil {
			t.Fatal(err)
		}
	}
	held := inRoute()
	road.hold(false, false)
	came := 0
	heard.until("a beacon says that all is published", func(s *stream) bool {
		came = len(s.events)
		return len(s.beacons) > 0 && s.beacons[len(s.beacons)-1].Published >= last
	})
	if came != int(last) {
		t.Errorf("of %d events, for which %d bytes waited at the route, %d have come; the client has connected again %d times", last, held, came, conn.Stats().Reconnects)
	}
	heard.noResets()
}
