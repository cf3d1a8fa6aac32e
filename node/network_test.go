package node

import (
	"strings"
	"testing"
	"time"
)

// network is three nodes with a link between every two ends: from each node to each other
// for Raft, between every two brokers, and between each broker and its clients.
type network struct {
	t       *testing.T
	nodes   []*Node
	raft    map[string]*link // over which a node dials another one: "n1-n2"
	routes  map[string]*link // "n2-n1"
	clients map[string]*link // to the broker of a node
}

func newNetwork(t *testing.T, adjust ...func(*Config)) *network {
	t.Helper()
	w := &network{t: t, raft: make(map[string]*link), routes: make(map[string]*link), clients: make(map[string]*link)}
	w.nodes = clusterOf(t, 3, append([]func(*Config){linkRoutes(t, w.routes), func(c *Config) {
		if c.ID == "n1" { // the first of a set
			clear(w.raft)
		}
		// Each node knows the others by the near ends of its own links.
		own := map[string]string{c.ID: c.Raft}
		for id, addr := range c.Peers {
			if id != c.ID {
				k := newLink(t, addr)
				w.raft[c.ID+"-"+id], own[id] = k, k.addr()
			}
		}
		c.Peers = own
		c.ElectionTimeout = 1500 * time.Millisecond // the machine pauses for long, and leaders are to be elected soon
	}}, adjust...)...)
	for _, n := range w.nodes {
		w.clients[n.ID()] = newLink(t, strings.TrimPrefix(n.NATSURL(), "nats://"))
	}
	return w
}

// hop is a link as one of its two ends sees it.
type hop struct {
	*link
	dialled bool // by this end; else by the other one
}

// path is all that goes between two ends, as the first of them sees it.
type path []hop

// raftPath is between two nodes.
func (w *network) raftPath(from, to *Node) path {
	return path{{w.raft[from.ID()+"-"+to.ID()], true}, {w.raft[to.ID()+"-"+from.ID()], false}}
}

// apart is between a node and all others.
func (w *network) apart(from *Node) (p path) {
	for _, n := range w.nodes {
		if n != from {
			p = append(p, w.raftPath(from, n)...)
		}
	}
	return p
}

// routePath is between the brokers of two nodes.
func (w *network) routePath(from, to *Node) path {
	if k := w.routes[from.ID()+"-"+to.ID()]; k != nil {
		return path{{k, true}}
	}
	return path{{w.routes[to.ID()+"-"+from.ID()], false}}
}

// clientPath is between the broker of a node and its clients.
func (w *network) clientPath(n *Node) path { return path{{w.clients[n.ID()], false}} }

// hold holds back what the first end says, and what the other one answers.
func (p path) hold(there, back bool) {
	for _, h := range p {
		if h.dialled {
			h.link.hold(there, back)
		} else {
			h.link.hold(back, there)
		}
	}
}

func (p path) each(do func(*link)) {
	for _, h := range p {
		do(h.link)
	}
}

func (p path) heal() { p.each((*link).heal) }
