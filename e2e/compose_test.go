//go:build docker

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCompose is the demo under faults while a client goes on writing: every
// client goes on, no acknowledged write is lost, and in the end all nodes have
// the same. The steps build on each other.
func TestCompose(t *testing.T) {
	c := startCluster(t)
	began := time.Now()
	did := func(what string) {
		t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond))
		began = time.Now()
	}
	c.demoRuns()
	did("writer and subscribers of the demo show changes")
	c.watchThroughEach()
	did("watched through each node with the nats command")
	subs, healing := c.subscribe(), c.healing()
	w := startWriter(t, c)
	w.goesOn(5)
	did("subscribed and wrote")
	c.killLeader(w, subs)
	did("killed the leader and started it again")
	paused := healing[c.nodes[0].name]
	paused.pause()
	since := time.Now()
	c.cutLeader(w)
	did("cut the leader off and healed the network")
	c.restartEach(w)
	did("restarted one node after the other")
	for time.Since(since) < 10*time.Second {
		w.goesOn(1)
	}
	paused.resume()
	w.goesOn(1)
	w.end()
	c.nothingLost(w)
	c.healed(healing)
	did(fmt.Sprintf("compared the nodes and read %d acknowledged writes of %d", len(w.acknowledged()), w.tries))
}

// demoRuns waits until the services of the demo show what the writer writes.
func (c *cluster) demoRuns() {
	c.t.Helper()
	for service, shows := range map[string]string{
		"writer":       "Writing demo.time",
		"subscriber-1": "put     demo.count",
		"subscriber-2": `"key":"demo.count","op":"put"`,
	} {
		c.eventually(service+" shows "+shows, func() bool {
			return strings.Contains(c.must(c.docker("logs", c.container(service))), shows)
		})
	}
}

// watchThroughEach watches at each node with the nats command, and makes the
// change at the next one.
func (c *cluster) watchThroughEach() {
	c.t.Helper()
	for i, m := range c.nodes {
		sub := m.watching("probe."+m.name, natsCLI(), "-s", m.url, "--no-context", "sub", "watch.hello."+m.name, "watch.probe."+m.name)
		next := c.nodes[(i+1)%len(c.nodes)]
		rev := mustMatch(c.t, "put at "+next.name, next.nats("req", "kv.put.hello."+m.name, "through "+next.name), `Watch-Rev: (\d+)`)[1]
		sub.waitFor(`(?s)watch\.hello\.` + m.name + `.*Watch-Rev: ` + rev + `\b.*through ` + next.name)
	}
}

// subscribe starts a subscriber at each node that shows what the writer writes.
func (c *cluster) subscribe() map[string]*process {
	c.t.Helper()
	subs := make(map[string]*process)
	for _, m := range c.nodes {
		subs[m.name] = m.watching("seen."+m.name, filepath.Join(bin, "subscriber"), "-s", m.url, "--json", "e2e.>", "seen."+m.name)
	}
	return subs
}

// killLeader kills the leader: writes go on, and the subscribers at the
// surviving brokers have seen every acknowledged one, or heard of a loss.
func (c *cluster) killLeader(w *writer, subs map[string]*process) {
	c.t.Helper()
	old := c.leader(c.nodes)
	c.must(c.docker("kill", c.container(old.name)))
	others := c.others(old)
	c.leader(others)
	w.goesOn(5)
	acked := w.acknowledged()
	for _, m := range others {
		c.eventually("the subscriber at "+m.name+" has seen every acknowledged write", func() bool {
			out := subs[m.name].output()
			return strings.Contains(out, "changes may have been missed") || len(missing(out, acked)) == 0
		})
		if strings.Contains(subs[m.name].output(), "changes may have been missed") {
			c.t.Logf("the subscriber at %s was told of a loss", m.name)
		}
	}
	c.must(c.docker("start", c.container(old.name)))
	c.awaitReady(old)
}

// missing returns which keys a subscriber has not shown.
func missing(out string, acked map[string]string) []string {
	left := maps.Clone(acked)
	for line := range strings.Lines(out) {
		var e struct{ Key, Value string }
		if json.Unmarshal([]byte(line), &e) == nil && left[e.Key] == e.Value {
			delete(left, e.Key)
		}
	}
	return slices.Sorted(maps.Keys(left))
}

// cutLeader takes the leader off the network: the others go on, it says that it
// is not ready, and comes back when the network does.
func (c *cluster) cutLeader(w *writer) {
	c.t.Helper()
	old := c.leader(c.nodes)
	network, container := project+"_default", c.container(old.name)
	c.must(c.docker("network", "disconnect", network, container))
	c.leader(c.others(old))
	w.goesOn(5)
	if o := c.health(old); o.err == nil || !strings.Contains(o.text, "is not ready: no leader") {
		c.t.Fatalf("node health at %s, which nobody reaches, says %q, %v", old.name, o, o.err)
	}
	c.must(c.docker("network", "connect", "--alias", old.name, network, container))
	c.awaitReady(old)
}

// restartEach stops and starts the nodes in turn: each ends in order, also the
// leader, and writes go on without it.
func (c *cluster) restartEach(w *writer) {
	c.t.Helper()
	for _, m := range c.nodes {
		container := c.container(m.name)
		c.must(c.docker("stop", "--time", "15", container))
		if code := c.must(c.docker("inspect", "--format", "{{.State.ExitCode}}", container)); code != "0" {
			c.t.Errorf("%s ended with exit code %s", m.name, code)
		}
		w.goesOn(3)
		c.must(c.docker("start", container))
		c.awaitReady(m)
	}
}

// nothingLost compares the nodes, which nobody writes to any more, and reads
// every acknowledged write.
func (c *cluster) nothingLost(w *writer) {
	c.t.Helper()
	c.must(c.docker("stop", c.container("writer")))
	var all []status
	c.eventually("all nodes have the same", func() bool {
		all = nil
		for _, m := range c.nodes {
			s, ok := m.status()
			if !ok || s.Leader == "" {
				return false
			}
			all = append(all, s)
		}
		return len(slices.Compact(slices.Clone(all))) == 1
	})
	first := c.nodes[0].backup(c.t)
	for _, m := range c.nodes[1:] {
		if b := m.backup(c.t); !bytes.Equal(b, first) {
			c.t.Errorf("the state of %s, %d bytes, is not that of %s, %d bytes", m.name, len(b), c.nodes[0].name, len(first))
		}
	}
	acked := w.acknowledged()
	if all[0].Keys < len(acked) {
		c.t.Errorf("the nodes have %d keys, and %d writes of different keys were acknowledged", all[0].Keys, len(acked))
	}
	keys := make(chan string, len(acked))
	for key := range acked {
		keys <- key
	}
	close(keys)
	var readers sync.WaitGroup
	for _, m := range c.nodes {
		readers.Go(func() {
			for key := range keys {
				if got := m.nats("req", "kv.get."+key, ""); !strings.Contains(got, acked[key]) {
					c.t.Errorf("%s=%s was acknowledged, and %s answers %q", key, acked[key], m.name, got)
				}
			}
		})
	}
	readers.Wait()
}
