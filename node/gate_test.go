package node

import (
	"context"
	"errors"
	"testing"
)

// TestGate: while it is closed nothing is handed to Raft, and it does not close
// before what was being handed over is there.
func TestGate(t *testing.T) {
	t.Parallel()
	var g writeGate
	for range 2 {
		if !g.enter() {
			t.Fatal("a new gate is closed")
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- g.close(bounded(t)) }()
	eventually(t, "the gate closes", g.isClosed)
	if g.enter() {
		t.Error("a closed gate lets a write pass")
	}
	g.leave()
	select {
	case err := <-closed:
		t.Fatalf("it is closed with a write in it: %v", err)
	default:
	}
	g.leave()
	if err := within(t, "close", func() error { return <-closed }); err != nil {
		t.Fatal(err)
	}
	g.open()
	if !g.enter() {
		t.Fatal("an open gate is closed")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.close(ended); !errors.Is(err, context.Canceled) || g.isClosed() {
		t.Errorf("closing without time: %v, closed %v", err, g.isClosed())
	}
	g.leave()
}

// TestGateUnderWriters: writes of every way in are refused while the gate is closed,
// reads of the leader too; none of the refused changes anything, and all goes on
// afterwards.
func TestGateUnderWriters(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	conn := connect(t, n.NATSURL())
	put(t, n, "k", "v")
	if err := n.gate.close(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Put(bounded(t), "k", nil); !errors.Is(err, ErrRestoring) {
		t.Errorf("put: %v", err)
	}
	if _, err := n.Batch(bounded(t), []Op{OpPut("k", nil)}); !errors.Is(err, ErrRestoring) {
		t.Errorf("batch: %v", err)
	}
	if _, err := n.Delete(bounded(t), "k"); !errors.Is(err, ErrRestoring) {
		t.Errorf("delete: %v", err)
	}
	if _, err := n.Get(bounded(t), "k"); !errors.Is(err, ErrRestoring) {
		t.Errorf("get: %v", err)
	}
	if e, err := n.Get(bounded(t), "k", Stale(0)); err != nil || string(e.Value) != "v" {
		t.Errorf("stale get: %+v, %v", e, err)
	}
	for _, subject := range []string{"kv.put.k", "kv.delete.k", "kv.get.k"} {
		reply := request(t, conn, subject, []byte("w"))
		if code := reply.Header.Get("Nats-Service-Error-Code"); code != "503" {
			t.Errorf("%s: %v", subject, reply.Header)
		}
	}
	n.gate.open()
	if e, err := n.Get(bounded(t), "k"); err != nil || string(e.Value) != "v" {
		t.Errorf("get: %+v, %v", e, err)
	}
	put(t, n, "k", "after")
}
