package node

import (
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestConnectionClosedForGood: a broker may object to what it is sent in a way after which
// the client library does not connect again. Here that is a line of an answer: the request
// that it answers is a little shorter. A node without one of its connections would hold office
// and serve nobody; it stops by itself.
func TestConnectionClosedForGood(t *testing.T) {
	t.Parallel()
	const longest = 1024
	broker := oneBroker(t, 0, func(o *server.Options) { o.MaxControlLine = longest })
	c := single(t)
	c.NATS, c.NATSURL = "", broker.ClientURL()
	n := lead(t, c)
	for i := range 64 {
		put(t, n, "k."+string(rune('0'+i)), strings.Repeat("x", 4<<10)) // for a list of several chunks
	}
	client := connect(t, broker.ClientURL())
	reply := strings.Repeat("r", longest-len("kv.list  0"))
	eventually(t, "the node stops by itself", func() bool { // the error may get lost when the connection ends
		if err := client.PublishRequest("kv.list", reply, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-n.Failed():
			return true
		default:
			return false
		}
	})
	wantOneLine(t, n.Err(), ErrBroker, "as service", "maximum control line exceeded", "start the node again")
	if client.IsClosed() {
		t.Error("the client that has asked is cut off, too")
	}
	_, err := n.Put(bounded(t), "k", nil)
	wantOneLine(t, err, ErrBroker)
	stop(t, n)

	n = lead(t, c)
	stop(t, n)
	if err := n.Err(); err != nil {
		t.Errorf("a node that was closed has stopped by itself: %v", err)
	}
}

// TestLoginRefusedForAWhile: a broker that does not know the node's users any more may know
// them again; the node keeps trying.
func TestLoginRefusedForAWhile(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(freeport.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	run := func(password string) *server.Server {
		return oneBroker(t, 0, func(o *server.Options) {
			if o.Port, err = net.LookupPort("tcp", port); err != nil {
				t.Fatal(err)
			}
			o.Users = []*server.User{{Username: "node", Password: password}}
		})
	}
	broker := run("right")
	c := single(t)
	c.NATS, c.NATSURL = "", "nats://node:right@127.0.0.1:"+port
	n := lead(t, c)
	broker.Shutdown()
	broker = run("wrong")
	refused := func(conn *natsgo.Conn) bool { return refusedLogin(conn.LastError()) }
	for range 3 { // once is not enough to be given up
		eventually(t, "both connections are refused", func() bool { return refused(n.publisherConn) && refused(n.serviceConn) })
		was := [2]uint64{n.publisherConn.Stats().Reconnects, n.serviceConn.Stats().Reconnects}
		eventually(t, "both try again", func() bool {
			return n.publisherConn.Stats().Reconnects > was[0] && n.serviceConn.Stats().Reconnects > was[1]
		})
	}
	broker.Shutdown()
	run("right")
	client := connect(t, c.NATSURL)
	eventually(t, "a request is answered", func() bool {
		reply, err := client.Request("kv.put.k", []byte("v"), patience)
		if err != nil {
			return false
		}
		_, err = revisionOf(reply)
		return err == nil
	})
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}
