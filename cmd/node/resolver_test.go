package main

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// askNames has a process of the test binary look names up at this server.
const askNames = "WATCHCAST_TEST_DNS"

// useTestNames obeys askNames.
func useTestNames() {
	server := os.Getenv(askNames)
	if server == "" {
		return
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server)
	}}
}

// names is a name server, which knows what it is told.
type names struct {
	conn  net.PacketConn
	mu    sync.Mutex
	known map[string][4]byte
}

func startNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{conn: conn, known: make(map[string][4]byte)}
	var wg sync.WaitGroup
	wg.Go(n.serve)
	t.Cleanup(func() {
		conn.Close()
		wg.Wait()
	})
	return n
}

// env is for processes that are to ask it.
func (n *names) env() string { return askNames + "=" + n.conn.LocalAddr().String() }

func (n *names) set(name string, addr [4]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[name+"."] = addr
}

func (n *names) serve() {
	buf := make([]byte, 512)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		n.mu.Lock()
		addr, ok := n.known[q.Name.String()]
		n.mu.Unlock()
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		switch {
		case !ok:
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: addr},
			}}
		}
		if answer, err := m.Pack(); err == nil {
			n.conn.WriteTo(answer, from)
		}
	}
}
