package node

import (
	"log/slog"
	"net"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	ownConns = 2  // of the node at its embedded broker
	madeRoom = 16 // clients that go for one of these: others may come in its place
)

// InProcessConn makes one of the node's own connections. Where it has lost one and the broker
// is full, clients are cut off for it: nats-server keeps no place for anybody, and without its
// connections the node serves nobody.
func (b *broker) InProcessConn() (net.Conn, error) {
	if clients := b.server.NumClients(); clients >= b.config.shares.clients+ownConns {
		b.makeRoom(clients)
	}
	return b.server.InProcessConn()
}

// makeRoom cuts off the clients that came last.
func (b *broker) makeRoom(clients int) {
	last, err := b.server.Connz(&server.ConnzOptions{Sort: server.ByCid, Offset: max(0, clients-madeRoom), Limit: madeRoom})
	if err != nil {
		return // it has no such sort, which the tests would miss
	}
	for _, c := range last.Conns {
		if c.IP != "" { // the node's own have none
			_ = b.server.DisconnectClientByID(c.Cid) // or it has gone by itself
		}
	}
	b.repeats.log(b.config.Logger.With("node", b.config.ID), slog.LevelWarn, "room", "cut off clients, because the broker is full and a connection of the node's own is to be made", "clients", len(last.Conns))
}

// clients says how many clients there are.
func (b *broker) clients() Clients {
	if b.server == nil {
		return Clients{}
	}
	return Clients{Connected: max(0, b.server.NumClients()-ownConns), Limit: b.config.shares.clients}
}
