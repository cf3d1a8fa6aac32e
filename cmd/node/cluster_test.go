package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/nats"
)

// processes is a cluster whose nodes, n1, n2, …, have a process each.
type processes struct {
	t     *testing.T
	env   []string
	args  [][]string
	dirs  []string
	nats  []string // where brokers listen
	nodes []*process
}

// clusterElection is longer than the default: a busy test machine pauses. To measure on a
// quiet one, set WATCHCAST_TEST_ELECTION to the default.
var clusterElection = cmp.Or(os.Getenv("WATCHCAST_TEST_ELECTION"), "500ms")

// startCluster starts nodes and waits until each of them serves. The address that
// the others have of a node is that of its own --raft, unless address gives
// another host for it.
func startCluster(t *testing.T, size int, host func(i int) string, env ...string) *processes {
	t.Helper()
	c := newCluster(t, size, host, env...)
	for i := range size {
		c.nodes[i] = startProcess(t, c.env, c.args[i]...)
	}
	for _, p := range c.nodes {
		p.ready()
	}
	return c
}

func newCluster(t *testing.T, size int, host func(i int) string, env ...string) *processes {
	t.Helper()
	c := &processes{t: t, env: append([]string{"WATCHCAST_CLUSTER_SECRET=not a secret"}, env...), nodes: make([]*process, size)}
	var raft, routes, peers []string
	for i := range size {
		raft, routes = append(raft, freeport.Address(t)), append(routes, freeport.Address(t))
		c.nats = append(c.nats, freeport.Address(t))
		c.dirs = append(c.dirs, t.TempDir())
		known := raft[i]
		if host != nil {
			if name := host(i); name != "" {
				_, port, _ := net.SplitHostPort(raft[i])
				known = net.JoinHostPort(name, port)
			}
		}
		peers = append(peers, fmt.Sprintf("n%d=%s", i+1, known))
	}
	for i := range size {
		c.args = append(c.args, []string{
			"--id", fmt.Sprintf("n%d", i+1), "--data", c.dirs[i], "--nats", c.nats[i], "--http", "off", "--raft", raft[i],
			"--peers", strings.Join(peers, ","), "--routes", routes[i], "--join-routes", strings.Join(routes, ","), "--election-timeout", clusterElection,
		})
	}
	return c
}

// connect returns a connection to any broker that is up, now and later.
func (c *processes) connect() *natsgo.Conn {
	c.t.Helper()
	var urls []string
	for _, addr := range c.nats {
		urls = append(urls, "nats://"+addr)
	}
	return natstest.Connect(c.t, strings.Join(urls, ","), natsgo.MaxReconnects(-1), natsgo.ReconnectWait(50*time.Millisecond))
}

// leader returns the index of the node that leads.
func (c *processes) leader() int {
	c.t.Helper()
	conn := c.connect()
	for end := time.Now().Add(limit); time.Now().Before(end); {
		reply, err := conn.Request("$SRV.PING.watchcast", nil, 200*time.Millisecond)
		if err != nil {
			continue
		}
		for i := range c.nodes {
			if strings.Contains(string(reply.Data), fmt.Sprintf(`"node":"n%d"`, i+1)) {
				return i
			}
		}
	}
	c.t.Fatalf("nobody leads within %v", limit)
	return -1
}

func (c *processes) restart(i int) {
	c.t.Helper()
	c.nodes[i] = startProcess(c.t, c.env, c.args[i]...)
	c.nodes[i].ready()
}

// wantAll holds that every node has what was acknowledged.
func (c *processes) wantAll(acknowledged map[string]uint64) {
	c.t.Helper()
	last := slices.Max(slices.Collect(func(yield func(uint64) bool) {
		for _, revision := range acknowledged {
			if !yield(revision) {
				return
			}
		}
	}))
	conn := c.connect()
	for key, revision := range acknowledged {
		m := natsgo.NewMsg("kv.stale.get." + key)
		m.Header.Set(nats.HeaderMinRev, fmt.Sprint(last))
		for range 2 * len(c.nodes) { // whoever answers
			reply, err := conn.RequestMsg(m, limit)
			if err != nil || reply.Header.Get(nats.HeaderRev) != fmt.Sprint(revision) {
				c.t.Fatalf("the acknowledged write of %s at %d is lost: %v, %+v", key, revision, err, reply)
			}
		}
	}
}

// putSome writes so many keys, again and again until each is acknowledged, and
// returns their revisions.
func putSome(t *testing.T, conn *natsgo.Conn, prefix string, many int) map[string]uint64 {
	t.Helper()
	acknowledged := make(map[string]uint64)
	for end := time.Now().Add(limit); len(acknowledged) < many; {
		key := fmt.Sprintf("%s.%d", prefix, len(acknowledged))
		revision, err := tryPut(conn, key, key)
		if err == nil {
			acknowledged[key] = revision
		} else if time.Now().After(end) {
			t.Fatalf("put %s: %v", key, err)
		}
	}
	return acknowledged
}

// tryPut is one attempt, which does not wait for a leader that is gone.
func tryPut(conn *natsgo.Conn, key, value string) (uint64, error) {
	reply, err := conn.Request("kv.put."+key, []byte(value), time.Second)
	if err != nil {
		return 0, err
	}
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		return 0, errors.New(code + ": " + reply.Header.Get("Nats-Service-Error"))
	}
	return strconv.ParseUint(reply.Header.Get(nats.HeaderRev), 10, 64)
}
