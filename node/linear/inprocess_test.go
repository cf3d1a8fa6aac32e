package linear

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/watchcast/watchcast/node"
)

// here is a cluster in this process.
type here struct {
	t       *testing.T
	configs []node.Config
	net     *network

	mu    sync.Mutex
	nodes [size]*node.Node // nil while killed
}

// startHere returns nil if somebody took one of the ports that were free.
func startHere(t *testing.T) *here {
	t.Helper()
	h := &here{t: t}
	h.configs, h.net = configs(t)
	t.Cleanup(func() {
		for _, n := range h.running() {
			within(t, "close "+n.ID(), n.Close)
		}
	})
	for i := range size {
		if err := h.start(i); errors.Is(err, node.ErrListen) {
			return nil
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *here) start(i int) error {
	c := h.configs[i]
	c.Logger = slog.New(slog.NewTextHandler(h.t.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1})) // faults are noisy
	n, err := node.Start(h.t.Context(), c)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nodes[i] = n
	return nil
}

func (h *here) running() (nodes []*node.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.nodes {
		if n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (h *here) leader() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, n := range h.nodes {
		if n != nil && n.Leader() == n.ID() {
			return i
		}
	}
	return -1
}

// kill ends a node of this process. It cannot be torn out of it as a process can
// be killed; but the others neither hear from it any more nor answer, so it can
// hand nothing over.
func (h *here) kill(i int) {
	for j := range size {
		if i != j {
			h.net.cut(i, j)
			h.net.cut(j, i)
		}
	}
	h.mu.Lock()
	n := h.nodes[i]
	h.nodes[i] = nil
	h.mu.Unlock()
	within(h.t, "close "+n.ID(), n.Close)
}

func (h *here) restart(i int) {
	eventually(h.t, "the ports of "+id(i)+" are free again", func() bool {
		err := h.start(i)
		if err != nil && !errors.Is(err, node.ErrListen) {
			h.t.Fatalf("start %s again: %v", id(i), err)
		}
		return err == nil
	})
}

func (h *here) pause(int) bool { return false }
func (h *here) resume(int)     {}

// TestLinearizable has nodes of this process cut off from each other, and started
// again, below clients of the Go API and of the NATS API.
func TestLinearizable(t *testing.T) {
	var h *here
	eventually(t, "the cluster's ports are free", func() bool {
		h = startHere(t)
		return h != nil
	})
	for _, n := range h.running() {
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	client := func(i int) *goClient {
		return &goClient{t: t, nodes: h.running, rng: rand.New(rand.NewPCG(uint64(i), 1)), limit: time.Duration(1+i) * electionTimeout / 2}
	}
	var clients []api
	for i := range 4 {
		clients = append(clients, client(i))
	}
	for i, n := range h.running() {
		clients = append(clients, newNATSClient(t, time.Duration(1+i)*electionTimeout, n.NATSURL(), h.running()[(i+1)%size].NATSURL()))
	}
	torture(t, h, h.net, clients, nil, client(size))
}
