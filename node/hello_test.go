package node

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// greeted is one end of a Raft connection: a stream layer of a node that knows who
// it is.
func greeted(t *testing.T, who identityRecord, failed *error) *streamLayer {
	t.Helper()
	log := testLogger(t)
	a := newAcquaintances(&identity{now: who}, leastRecent, log, func(err error) { *failed = err }, func(string) {})
	a.setMembers(func() []raft.Server { return []raft.Server{{ID: "n1"}, {ID: "n2"}, {ID: "n3"}} }, func() bool { return false })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	layer := newStreamLayer(l, nil, nil, a)
	t.Cleanup(func() { layer.Close() })
	return layer
}

// meets connects one end with another, and has that read. The connection stays until
// the end of the test.
func meets(t *testing.T, from, to *streamLayer) error {
	t.Helper()
	read := make(chan error, 1)
	go func() {
		conn, err := to.Accept()
		if err != nil {
			read <- err
			return
		}
		_, err = io.ReadFull(conn, make([]byte, 1))
		if err != nil {
			conn.Close()
		}
		read <- err
	}()
	conn, err := from.Dial(raft.ServerAddress(to.Addr().String()), patience)
	if err == nil {
		_, err = conn.Write([]byte("x"))
	}
	return errors.Join(err, within(t, "the other end", func() error { return <-read }))
}

// TestWhoMayTalk is who talks Raft with whom, and when a node stops by itself.
func TestWhoMayTalk(t *testing.T) {
	t.Parallel()
	who := func(node, directory, cluster string) identityRecord {
		return identityRecord{Node: node, Directory: directory, Cluster: cluster}
	}
	for _, c := range []struct {
		name    string
		self    identityRecord
		others  []identityRecord // who dial it, one after the other
		refused []bool
		stops   error // what the last of them stops with
		failed  error // what self stops with
	}{
		{"members", who("n1", "d1", "A"), []identityRecord{who("n2", "d2", "A"), who("n3", "d3", "A"), who("n2", "d2", "A")}, []bool{false, false, false}, nil, nil},
		{"a new member", who("n1", "d1", "A"), []identityRecord{who("n2", "d2", "")}, []bool{false}, nil, nil},
		{"founders", who("n1", "d1", ""), []identityRecord{who("n2", "d2", ""), who("n3", "d3", "")}, []bool{false, false}, nil, nil},
		{"one stranger", who("n1", "d1", "A"), []identityRecord{who("n2", "d2", "A"), who("n3", "d3", "B")}, []bool{false, true}, nil, nil},
		{"a stranger that mends", who("n1", "d1", "A"), []identityRecord{who("n3", "d4", "B"), who("n3", "d3", "A"), who("n2", "d2", "B")}, []bool{true, false, true}, nil, nil},
		{"among strangers", who("n1", "d1", "A"), []identityRecord{who("n2", "d2", "B"), who("n3", "d3", "B")}, []bool{true, true}, nil, ErrOtherCluster},
		{"strangers who are no members", who("n1", "d1", "A"), []identityRecord{who("x2", "d2", "B"), who("x3", "d3", "B"), who("x4", "d4", "B")}, []bool{true, true, true}, nil, nil},
		{"one stranger twice", who("n1", "d1", "A"), []identityRecord{who("n3", "d3", "B"), who("n3", "d3", "B")}, []bool{true, true}, nil, nil},
		{"a double", who("n1", "d1", "A"), []identityRecord{who("n2", "d2", "A"), who("n2", "dx", "A")}, []bool{false, true}, ErrSameID, nil},
		{"a double of itself", who("n1", "d1", "A"), []identityRecord{who("n1", "dx", "A")}, []bool{true}, ErrSameID, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var failed, stopped error
			self := greeted(t, c.self, &failed)
			for i, other := range c.others {
				stopped = nil
				if err := meets(t, greeted(t, other, &stopped), self); (err != nil) != c.refused[i] {
					t.Errorf("%+v: %v; want refused: %v", other, err, c.refused[i])
				}
			}
			if !errors.Is(failed, c.failed) || (failed != nil) != (c.failed != nil) {
				t.Errorf("it stops with %v; want %v", failed, c.failed)
			}
			if !errors.Is(stopped, c.stops) || (stopped != nil) != (c.stops != nil) {
				t.Errorf("the last stops with %v; want %v", stopped, c.stops)
			}
		})
	}
}

// TestDoubleMakesRoom: who is found at a member's address is that member. Another
// process that has come in under its id while it was away is put out.
func TestDoubleMakesRoom(t *testing.T) {
	t.Parallel()
	var none error
	self := greeted(t, identityRecord{Node: "n1", Directory: "d1", Cluster: "A"}, &none)
	double := greeted(t, identityRecord{Node: "n2", Directory: "dx", Cluster: "A"}, &none)
	member := greeted(t, identityRecord{Node: "n2", Directory: "d2", Cluster: "A"}, &none)
	closed := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		conn, err := self.Accept()
		if err != nil {
			closed <- err
			return
		}
		io.ReadFull(conn, make([]byte, 1))
		close(begun)
		_, err = io.ReadAll(conn)
		closed <- errors.Join(err, conn.Close())
	}()
	conn, err := double.Dial(raft.ServerAddress(self.Addr().String()), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := meets(t, self, member); err != nil {
		t.Fatalf("the member is not talked with: %v", err)
	}
	within(t, "the end of the connection with the double", func() error { return <-closed })
	var stopped error
	again := greeted(t, identityRecord{Node: "n2", Directory: "dx", Cluster: "A"}, &stopped)
	if err := meets(t, again, self); err == nil || !errors.Is(stopped, ErrSameID) {
		t.Errorf("the double comes in again: %v, stopped with %v", err, stopped)
	}

	// When the member is gone, another may take its place.
	self.closeAll("n2")
	stopped = nil
	if err := meets(t, again, self); err != nil || stopped != nil {
		t.Errorf("who replaces the member is refused: %v, stopped with %v", err, stopped)
	}
}

// closeAll closes what connects this end with a node.
func (s *streamLayer) closeAll(node string) {
	var found []*streamConn
	s.mu.Lock()
	for c := range s.open {
		if c.peer.Node == node {
			found = append(found, c)
		}
	}
	s.mu.Unlock()
	for _, c := range found {
		c.Close()
	}
}

// TestBadGreeting: what does not greet as a node does is not let through to Raft.
func TestBadGreeting(t *testing.T) {
	t.Parallel()
	long := append([]byte(helloMagic), 0xff, 0xff)
	for name, bytes := range map[string][]byte{
		"another protocol": []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"too long":         long,
		"no JSON":          append(binary.BigEndian.AppendUint16([]byte(helloMagic), 3), "abc"...),
		"cut":              append(binary.BigEndian.AppendUint16([]byte(helloMagic), 300), "{}"...),
		"nothing":          nil,
		"another version":  append(binary.BigEndian.AppendUint16([]byte("WCR9"), 44), `{"node":"n2","directory":"d2","cluster":"A"}x`...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failed error
			layer := greeted(t, identityRecord{Node: "n1", Directory: "d1", Cluster: "A"}, &failed)
			conn, err := net.Dial("tcp", layer.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(bytes); err != nil {
				t.Fatal(err)
			}
			conn.(*net.TCPConn).CloseWrite()
			accepted, err := layer.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if n, err := accepted.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%d bytes and %v come through", n, err)
			}
			if failed != nil {
				t.Errorf("the node stops with %v", failed)
			}
			accepted.Close()
			conn.Close()
		})
	}
	// A greeting that does not end holds up nobody but its own connection.
	var failed error
	layer := greeted(t, identityRecord{Node: "n1", Directory: "d1", Cluster: "A"}, &failed)
	silent, err := net.Dial("tcp", layer.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := layer.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := meets(t, greeted(t, identityRecord{Node: "n2", Directory: "d2", Cluster: "A"}, &failed), layer); err != nil {
		t.Errorf("beside a silent connection: %v", err)
	}
}

// TestStrangersPart: a node that learns of which cluster it is closes what connects
// it with another cluster, and nothing else.
func TestStrangersPart(t *testing.T) {
	t.Parallel()
	var none error
	self := greeted(t, identityRecord{Node: "n1", Directory: "d1"}, &none)
	accepted := make(map[string]net.Conn)
	for _, other := range []identityRecord{{"n2", "d2", "A"}, {"n3", "d3", "B"}, {"n4", "d4", ""}} {
		conn, err := net.Dial("tcp", self.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := (hello{identityRecord: other}).send(conn); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("xy")); err != nil {
			t.Fatal(err)
		}
		if accepted[other.Node], err = self.Accept(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(accepted[other.Node], make([]byte, 1)); err != nil {
			t.Fatalf("%s is refused: %v", other.Node, err)
		}
	}
	self.acquainted.part(self, "A")
	for node, conn := range accepted {
		if _, err := io.ReadFull(conn, make([]byte, 1)); (err != nil) != (node == "n3") {
			t.Errorf("the connection with %s: %v", node, err)
		}
		conn.Close()
	}
}

// TestPeerLeaves: a peer has left once it has ended the last of what connects a node with
// it, not before, not if this end closed it, and nobody else has.
func TestPeerLeaves(t *testing.T) {
	t.Parallel()
	var none error
	self := greeted(t, identityRecord{Node: "n1", Directory: "d1", Cluster: "A"}, &none)
	var left []string
	self.acquainted.left = func(id string) { left = append(left, id) }
	peers := make(map[string]*streamLayer)
	for _, id := range []string{"n2", "n3"} {
		peers[id] = greeted(t, identityRecord{Node: id, Directory: "d" + id, Cluster: "A"}, &none)
	}
	type ends struct{ here, there net.Conn }
	dial := func(id string) (e ends) {
		t.Helper()
		accepted := make(chan net.Conn, 1)
		go func() {
			conn, err := peers[id].Accept()
			if err == nil {
				_, err = io.ReadFull(conn, make([]byte, 1)) // behind its greeting
			}
			if err != nil {
				t.Error(err)
			}
			accepted <- conn
		}()
		var err error
		if e.here, err = self.Dial(raft.ServerAddress(peers[id].Addr().String()), patience); err != nil {
			t.Fatal(err)
		}
		if _, err := e.here.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		e.there = <-accepted
		if !self.acquainted.connected(id) {
			t.Fatalf("%s is not connected", id)
		}
		return e
	}
	closed := func(e ends, want ...string) {
		t.Helper()
		e.here.Close()
		if !slices.Equal(left, want) {
			t.Fatalf("left are %v, want %v", left, want)
		}
	}
	ended := func(e ends, want ...string) {
		t.Helper()
		e.there.Close()
		if _, err := e.here.Read(make([]byte, 1)); err == nil {
			t.Fatal("the other end is not closed")
		}
		closed(e, want...)
	}
	first, second, other := dial("n2"), dial("n2"), dial("n3")
	ended(first)
	ended(second, "n2")
	closed(second, "n2") // again
	if self.acquainted.connected("n2") || !self.acquainted.connected("n3") {
		t.Error("n2 is connected, or n3 is not")
	}
	third := dial("n2")
	if err := third.here.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := third.here.Read(make([]byte, 1)); err == nil {
		t.Fatal("somebody has written")
	}
	closed(third, "n2") // it was silent
	ended(dial("n2"), "n2", "n2")
	ended(other, "n2", "n2", "n3")
}
