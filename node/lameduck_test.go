package node

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/nats"
)

// meetingBrokers are three brokers of one's own, in this process, that form a cluster.
// Again starts one of them at the same addresses.
func meetingBrokers(t *testing.T) (brokers []*server.Server, again func(i int)) {
	t.Helper()
	const size = 3
	var clients, routes []*net.TCPAddr
	for range size {
		for _, addrs := range []*[]*net.TCPAddr{&clients, &routes} {
			addr, err := net.ResolveTCPAddr("tcp", freeport.Address(t))
			if err != nil {
				t.Fatal(err)
			}
			*addrs = append(*addrs, addr)
		}
	}
	brokers = make([]*server.Server, size)
	again = func(i int) {
		t.Helper()
		brokers[i] = oneBroker(t, 0, func(o *server.Options) {
			o.ServerName = "b" + strconv.Itoa(i)
			o.Host, o.Port = clients[i].IP.String(), clients[i].Port
			o.LameDuckDuration, o.LameDuckGracePeriod = 2*time.Second, 100*time.Millisecond
			o.Cluster = server.ClusterOpts{Name: "brokers", Host: routes[i].IP.String(), Port: routes[i].Port}
			for j, r := range routes {
				if j != i {
					o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r.String()})
				}
			}
		})
	}
	for i := range brokers {
		again(i)
	}
	return brokers, again
}

// TestLameDucks: brokers of one's own go one after the other, as when they are updated, and
// send their clients away one by one before that, the node's connections among them. No
// write is lost or repeated, watches have everything in the end, and a raw one is told of each
// loss.
func TestLameDucks(t *testing.T) {
	t.Parallel()
	brokers, again := meetingBrokers(t)
	var urls []string
	for _, b := range brokers {
		urls = append(urls, b.ClientURL())
	}
	from := func(i int) string { return strings.Join(slices.Concat(urls[i:], urls[:i]), ",") }
	config := single(t)
	config.NATS, config.NATSURL = "", from(0)
	n := lead(t, config)
	var healing, raw []*mirror
	for i := range brokers {
		healing = append(healing, mirrorOf(t, client(t, from(i)), ">", nats.WatchOptions{}))
		raw = append(raw, mirrorOf(t, client(t, from(i)), ">", nats.WatchOptions{Raw: true}))
	}

	ctx, cancel := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	for i := range brokers {
		c := client(t, from(i))
		writers.Go(func() { // of a key each, which nobody else writes
			key, at := fmt.Sprintf("k.%d", i), uint64(0)
			for count := 0; ctx.Err() == nil; count++ {
				revision, err := c.CompareAndSet(context.Background(), key, at, fmt.Append(nil, count))
				if err != nil {
					t.Errorf("write %d of %s, which was at %d: %v", count, key, at, err)
					return
				}
				at = revision
			}
		})
	}
	for i := range brokers {
		brokers[i].LameDuckShutdown()
		again(i)
		eventually(t, "the broker has met the others", func() bool { return brokers[i].NumRoutes() > 0 })
	}
	cancel()
	writers.Wait()
	for key := range state(t, n, ">") {
		put(t, n, key, "last")
	}
	want := state(t, n, ">")
	for _, m := range healing {
		m.equals("behind the last broker that went", want)
	}
	for _, m := range raw {
		m.equals("behind the last broker that went", want)
		m.chained()
	}
}

// chained fails the test if a change of a key was jumped over, and no loss was told before the
// change that shows it.
func (m *mirror) chained() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := make(map[string]uint64)
	told := make(map[string]bool)
	for _, u := range m.all {
		switch {
		case u.Kind == nats.Lost && u.Key != "":
			told[u.Key] = true
		case u.Kind == nats.Lost:
			for key := range seen {
				told[key] = true
			}
		case u.Kind == nats.Changed:
			e := u.Event
			if before := seen[e.Key]; before > 0 && e.PrevRevision > before && !told[e.Key] {
				m.t.Errorf("%s at %d follows %d, and %d was not told to be lost", e.Key, e.Revision, before, e.PrevRevision)
			}
			seen[e.Key] = e.Revision
			delete(told, e.Key)
		}
	}
}
