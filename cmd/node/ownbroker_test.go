package main

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/watchcast/watchcast/internal/natstest"
)

// ownBroker is a broker in this process.
func ownBroker(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true
	broker, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(broker.Shutdown)
	if !broker.ReadyForConnections(limit) {
		t.Fatal("the broker does not listen")
	}
	return broker
}

// TestBrokerOfOnesOwn: with --nats-url the node serves at a broker that was there before it,
// and leaves it running.
func TestBrokerOfOnesOwn(t *testing.T) {
	broker := ownBroker(t, &server.Options{})
	n := startProcess(t, nil, "--data", t.TempDir(), "--nats-url", broker.ClientURL(), "--http", "127.0.0.1:0")
	n.ready()
	conn := natstest.Connect(t, broker.ClientURL())
	events, err := conn.SubscribeSync("watch.k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestWithContext(bounded(t), "kv.put.k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if m, err := events.NextMsgWithContext(bounded(t)); err != nil || string(m.Data) != "v" {
		t.Errorf("the event: %v, %v", m, err)
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := n.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if !conn.IsConnected() {
		t.Error("the broker has gone with the node")
	}
}

// TestBrokerClosesForGood: a node whose broker objects to what it is sent, so that there is no
// connection any more, ends with exit code 3 and one line.
func TestBrokerClosesForGood(t *testing.T) {
	const longest = 1024
	broker := ownBroker(t, &server.Options{MaxControlLine: longest})
	n := startProcess(t, nil, "--data", t.TempDir(), "--nats-url", broker.ClientURL(), "--http", "127.0.0.1:0")
	n.ready()
	conn := natstest.Connect(t, broker.ClientURL())
	for i := range 64 { // for a list of several chunks
		if _, err := conn.Request("kv.put.k"+strconv.Itoa(i), make([]byte, 4<<10), limit); err != nil {
			t.Fatal(err)
		}
	}
	// The line of a chunk also has a subject for its acknowledgement.
	reply := strings.Repeat("r", longest-len("kv.list  0"))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(limit)
	for ended := false; !ended; {
		if err := conn.PublishRequest("kv.list", reply, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-n.done:
			ended = true
		case <-late:
			t.Fatal("the node goes on")
		}
	}
	if code := n.exit(); code != exitItself {
		t.Errorf("exit code %d, want %d", code, exitItself)
	}
	n.oneLine(`^node: the broker has closed the node's connection for good, as service: nats: maximum control line exceeded; see to what it objects to, then start the node again: nothing that was acknowledged is lost\n$`)
}
