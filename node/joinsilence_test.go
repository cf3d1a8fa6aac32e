package node

import (
	"io"
	"net"
	"testing"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestJoinThroughSilence: a node that joins asks for its vote again if the connection with
// the leader on which it has asked is dead without a word.
func TestJoinThroughSilence(t *testing.T) {
	t.Parallel()
	c := serving(t)
	c.ID, c.Raft = "n1", freeport.Address(t)
	between, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { between.Close() })
	c.RaftAdvertise = between.Addr().String()
	dead := make(chan net.Conn, 1)
	go func() {
		for {
			conn, err := between.Accept()
			if err != nil {
				return
			}
			select {
			case dead <- conn: // the first one
				continue
			default:
			}
			go func() {
				defer conn.Close()
				to, err := net.Dial("tcp", c.Raft)
				if err != nil {
					return
				}
				defer to.Close()
				go io.Copy(to, conn)
				io.Copy(conn, to)
			}()
		}
	}()
	leader := lead(t, c)
	join(t, joiner(t, leader, "n2"))
	awaitMember(t, leader, "n2", true)
	(<-dead).Close()
}
