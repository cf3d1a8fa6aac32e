package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// valve stands in front of a node's Raft address. Shut, it cuts what others sent to
// the node, and refuses more.
type valve struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]bool
	bytes bytes.Buffer // that went to the node
	wg    sync.WaitGroup
}

// Write records what goes to the node.
func (v *valve) Write(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bytes.Write(b)
}

// saw reports whether text went to the node.
func (v *valve) saw(text string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return bytes.Contains(v.bytes.Bytes(), []byte(text))
}

func newValve(t *testing.T, to string) *valve {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{listener: l, to: to, conns: make(map[net.Conn]bool)}
	v.wg.Go(v.run)
	t.Cleanup(func() {
		l.Close()
		v.set(true)
		v.wg.Wait()
	})
	return v
}

func (v *valve) addr() string { return v.listener.Addr().String() }

func (v *valve) run() {
	for {
		in, err := v.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", v.to)
		if err != nil || !v.keep(in, out) {
			in.Close()
			if out != nil {
				out.Close()
			}
			continue
		}
		for to, from := range map[io.Writer]io.Reader{io.MultiWriter(out, v): in, in: out} {
			v.wg.Go(func() {
				io.Copy(to, from)
				in.Close()
				out.Close()
			})
		}
	}
}

func (v *valve) keep(conns ...net.Conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range conns {
		v.conns[c] = true
	}
	return !v.shut
}

// set shuts the valve, or opens it.
func (v *valve) set(shut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = shut
	if !shut {
		return
	}
	for c := range v.conns {
		c.Close()
		delete(v.conns, c)
	}
}

// valvedCluster is three nodes whose Raft addresses have valves, by the nodes' ids.
func valvedCluster(t *testing.T, change ...func(*Config)) (nodes []*Node, valves map[string]*valve) {
	t.Helper()
	eventually(t, "the cluster's ports are free", func() bool {
		nodes, valves = startValvedCluster(t, change)
		return nodes != nil
	})
	for _, n := range nodes {
		waitReady(t, n)
	}
	eventually(t, "the nodes agree on a leader", func() bool {
		return nodes[0].Leader() != "" && nodes[1].Leader() == nodes[0].Leader() && nodes[2].Leader() == nodes[0].Leader()
	})
	return nodes, valves
}

func startValvedCluster(t *testing.T, change []func(*Config)) (nodes []*Node, valves map[string]*valve) {
	t.Helper()
	peers, listen := make(map[string]string), make(map[string]string)
	valves = make(map[string]*valve)
	for i := range 3 {
		id := fmt.Sprintf("n%d", i+1)
		listen[id] = freeport.Address(t)
		valves[id] = newValve(t, listen[id])
		peers[id] = valves[id].addr()
	}
	for id := range peers {
		c := single(t)
		c.ID, c.Peers, c.Raft = id, peers, listen[id]
		c.ElectionTimeout = 2 * time.Second
		for _, f := range change {
			f(&c)
		}
		n, err := Start(bounded(t), c)
		if errors.Is(err, ErrListen) {
			for _, n := range nodes {
				stop(t, n)
			}
			return nil, nil
		}
		if err != nil {
			t.Fatalf("start %s: %v", id, err)
		}
		t.Cleanup(func() { stop(t, n) })
		nodes = append(nodes, n)
	}
	return nodes, valves
}
