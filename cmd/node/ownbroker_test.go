package main

import (
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

// TestBrokerOfOnesOwn: with --nats-url the node serves at a broker that was there before it,
// and leaves it running.
func TestBrokerOfOnesOwn(t *testing.T) {
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(broker.Shutdown)
	if !broker.ReadyForConnections(limit) {
		t.Fatal("the broker does not listen")
	}
	n := startProcess(t, nil, "--data", t.TempDir(), "--nats-url", broker.ClientURL(), "--http", "127.0.0.1:0")
	n.ready()
	conn, err := natsgo.Connect(broker.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
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
