package node

import (
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/nats"
)

// TestLeafNode: clients of a leaf node watch, read and write as those of the brokers
// that the node is connected to, and have the rules of the leaf's user.
func TestLeafNode(t *testing.T) {
	t.Parallel()
	run := natsServers(t)
	hub, leafs, edge := freeport.Address(t), freeport.Address(t), freeport.Address(t)
	run(sample(t, "hub.conf", "0.0.0.0:4222", hub, "0.0.0.0:7422", leafs), hub)
	run(sample(t, "leaf.conf", "127.0.0.1:4222", edge, "hub.example.com:7422", leafs), edge)

	config := single(t)
	config.NATS, config.NATSURL, config.NATSPublisherURL = "", "nats://service:change-this-2@"+hub, "nats://publisher:change-this-1@"+hub
	n := lead(t, config)
	at := "nats://app:change-this-5@" + edge
	wantFarClient(t, n, connect(t, at))
	wantClientRules(t, n, at)
}

// wantFarClient writes and reads over conn, and hears of the change.
func wantFarClient(t *testing.T, n *Node, conn *natsgo.Conn) {
	t.Helper()
	events := subscribe(t, conn, ">")
	eventually(t, "the interest has come through", func() bool {
		revision := put(t, n, "known", "x")
		for range 10 {
			if conn.FlushWithContext(bounded(t)) == nil && events.has(revision) {
				return true
			}
		}
		return false
	})
	revision, err := revisionOf(request(t, conn, "kv.put.far", []byte("away")))
	if err != nil {
		t.Fatal(err)
	}
	events.seen(revision)
	for _, subject := range []string{"kv.get.far", "kv.stale.get.far"} {
		if reply := request(t, conn, subject, nil); string(reply.Data) != "away" {
			t.Errorf("%s: %v %q", subject, reply.Header, reply.Data)
		}
	}
}

func (s *stream) has(revision uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Revision == revision {
			return true
		}
	}
	return false
}

// TestSuperCluster: the same over a gateway between two clusters.
func TestSuperCluster(t *testing.T) {
	t.Parallel()
	run := natsServers(t)
	var clients, gates []string
	for range 2 {
		clients, gates = append(clients, freeport.Address(t)), append(gates, freeport.Address(t))
	}
	for i, name := range []string{"east", "west"} {
		run(natsConfigFile(t, fmt.Sprintf(`server_name: %s, listen: %q, gateway { name: %s, listen: %q, gateways: [
			{name: east, url: "nats://%s"}, {name: west, url: "nats://%s"} ] }`, name, clients[i], name, gates[i], gates[0], gates[1])), clients[i])
	}
	config := single(t)
	config.NATS, config.NATSURL = "", "nats://"+clients[0]
	n := lead(t, config)
	if strings.Contains(n.NATSURL(), clients[1]) {
		t.Fatal("the node is at both")
	}
	wantFarClient(t, n, connect(t, "nats://"+clients[1]))
}

// TestAccounts: clients of another account that imports what that of the nodes exports watch,
// read and write as these, whatever the size of an answer.
func TestAccounts(t *testing.T) {
	t.Parallel()
	broker := freeport.Address(t)
	natsServers(t)(sample(t, "accounts.conf", "0.0.0.0:4222", broker), broker)
	config := single(t)
	config.NATS, config.NATSURL, config.NATSPublisherURL = "", "nats://service:change-this-2@"+broker, "nats://publisher:change-this-1@"+broker
	n := lead(t, config)
	at := "nats://app:change-this-3@" + broker
	wantFarClient(t, n, connect(t, at))
	const keys = 3 * nats.MaxOpenChunks // each fills a chunk
	for i := range keys {
		put(t, n, fmt.Sprintf("long.%d", i), strings.Repeat("x", nats.ChunkBytes))
	}
	c := client(t, at)
	l, err := c.List(bounded(t), "long.*")
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	for _, err := range l.All() {
		if err != nil {
			t.Fatalf("after %d entries: %v", listed, err)
		}
		listed++
	}
	if listed != keys {
		t.Errorf("%d entries were listed, want %d", listed, keys)
	}
	w, err := c.Watch(bounded(t), "long.*", nats.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for u := range w.Updates() {
		if u.Kind == nats.Synced {
			return
		}
	}
	t.Errorf("the watch has ended: %v", w.Err())
}
