package node

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestRoomForItself: a node whose broker is full, with clients before the door that come again
// and again, gets the connection back that it has lost to it, and serves.
func TestRoomForItself(t *testing.T) {
	t.Parallel()
	c := single(t)
	c.InMemory, c.DataDir, c.MaxClients = true, "", 20
	n := lead(t, c)
	var clients []*natsgo.Conn
	for range 3 * c.MaxClients / 2 {
		clients = append(clients, connect(t, n.NATSURL(), natsgo.RetryOnFailedConnect(true), natsgo.MaxReconnects(-1),
			natsgo.ReconnectWait(10*time.Millisecond), natsgo.ReconnectJitter(0, 0)))
	}
	full := func() bool { return n.broker.server.NumClients() == c.MaxClients+ownConns }
	eventually(t, "the broker is full", full)
	for name, own := range map[string]*natsgo.Conn{"service": n.serviceConn, "publisher": n.publisherConn} {
		id, err := own.GetClientID()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.broker.server.DisconnectClientByID(id); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the "+name+" is connected again", func() bool {
			now, err := own.GetClientID()
			return err == nil && now != id && own.IsConnected()
		})
	}
	eventually(t, "the broker is full again", full)
	eventually(t, "a client is served", func() bool {
		for _, conn := range clients {
			if reply, err := conn.Request("kv.put.k", []byte("v"), time.Second); err == nil && reply.Header.Get("Watch-Rev") != "" {
				return true
			}
		}
		return false
	})
	if s := n.Status().Clients; s.Limit != c.MaxClients || s.Connected > c.MaxClients {
		t.Errorf("the status has %+v", s)
	}
}

// TestRoomAtTheStart: a node starts though more clients come at once than its broker may have,
// as those of one that is restarted do.
func TestRoomAtTheStart(t *testing.T) {
	t.Parallel()
	c := single(t)
	c.InMemory, c.DataDir, c.MaxClients, c.NATS = true, "", 1, freeport.Address(t)
	for range 20 {
		go func() {
			for t.Context().Err() == nil {
				conn, err := net.Dial("tcp", c.NATS)
				if err != nil {
					continue
				}
				stop := context.AfterFunc(t.Context(), func() { conn.Close() })
				io.Copy(io.Discard, conn)
				stop()
				conn.Close()
			}
		}()
	}
	for range 10 {
		stop(t, start(t, c))
	}
}
