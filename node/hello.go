package node

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// hello is what the two ends of a Raft connection say first, the one that dialled
// before the other.
type hello struct {
	identityRecord
	Refused refusal `json:"refused,omitempty"` // in the answer
}

// refusal is why a node does not talk Raft with another.
type refusal string

const (
	otherCluster refusal = "cluster" // they are of different clusters
	sameID       refusal = "id"      // another process takes part under its id
)

const (
	helloMagic = "\x01WCR" // begins as no request of HTTP does: see raftPort
	maxHello   = 4 << 10   // bytes of JSON
)

// send writes h: magic, length in two bytes, JSON.
func (h hello) send(w io.Writer) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint16([]byte(helloMagic), uint16(len(data)))
	_, err = w.Write(append(frame, data...))
	return err
}

// receive reads one, and not a byte more.
func (h *hello) receive(r io.Reader) error {
	head := make([]byte, len(helloMagic)+2)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(head[len(helloMagic):])
	if string(head[:len(helloMagic)]) != helloMagic || n > maxHello {
		return errors.New("it does not speak as a Watchcast node's Raft address does")
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	return json.Unmarshal(data, h)
}

// dialled greets who was dialled at an address.
func (a *acquaintances) dialled(conn *streamConn, at raft.ServerAddress, timeout time.Duration) error {
	return greeting(conn.Conn, timeout, func() error {
		if err := (hello{identityRecord: a.self.get()}).send(conn.Conn); err != nil {
			return err
		}
		var peer hello
		if err := peer.receive(conn.Conn); err != nil {
			return fmt.Errorf("%s does not greet: %w", conn.RemoteAddr(), err)
		}
		if peer.Refused == sameID {
			return a.sameID(peer.Node, conn.RemoteAddr())
		}
		return a.met(conn, peer.identityRecord, at)
	})
}

// accepted answers who dialled.
func (a *acquaintances) accepted(conn *streamConn, timeout time.Duration) error {
	return greeting(conn.Conn, timeout, func() error {
		var peer hello
		if err := peer.receive(conn.Conn); err != nil {
			return err
		}
		err := a.met(conn, peer.identityRecord, "")
		answer := hello{identityRecord: a.self.get()}
		switch {
		case errors.Is(err, ErrOtherCluster):
			answer.Refused = otherCluster
		case errors.Is(err, ErrSameID):
			answer.Refused = sameID
		}
		return errors.Join(err, answer.send(conn.Conn))
	})
}

// greeting bounds what f reads and writes.
func greeting(conn net.Conn, timeout time.Duration, f func() error) error {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}
