package linear

import (
	"fmt"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/node"
)

const (
	size            = 3
	electionTimeout = 400 * time.Millisecond
	patience        = 30 * time.Second // for what should take a second
)

// cluster is what faults are done to. Only one goroutine calls it.
type cluster interface {
	leader() int // the node that thinks so, one of several maybe; -1: none
	kill(i int)  // ends a node without giving it time to do anything about it
	restart(i int)
	pause(i int) bool // stops a node where it stands; false if that cannot be done
	resume(i int)
}

// configs are those of a new cluster whose Raft traffic goes through the network
// that is returned. Each node knows the others by the near ends of its own links.
func configs(t *testing.T) ([]node.Config, *network) {
	t.Helper()
	var addrs, routes []string
	for range size {
		addrs, routes = append(addrs, freeport.Address(t)), append(routes, freeport.Address(t))
	}
	net := newNetwork(t, addrs)
	var configs []node.Config
	for i := range size {
		peers := map[string]string{id(i): addrs[i]}
		for j := range size {
			if i != j {
				peers[id(j)] = net.addr(i, j)
			}
		}
		configs = append(configs, node.Config{
			ID:              id(i),
			DataDir:         t.TempDir(),
			NATS:            freeport.Address(t),
			Routes:          routes[i],
			JoinRoutes:      routes,
			ClusterSecret:   "not a secret",
			Raft:            addrs[i],
			Peers:           peers,
			HTTP:            node.Off,
			ElectionTimeout: electionTimeout,
		})
	}
	return configs, net
}

func id(i int) string { return fmt.Sprintf("n%d", i+1) }

// eventually looks again and again until a condition holds that nothing signals.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !condition(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// within fails the test at once if f does not return.
func within(t *testing.T, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(patience):
		t.Fatalf("%s did not return within %v", what, patience)
	}
}
