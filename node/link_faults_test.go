package node

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// echo listens and sends back what it is told, on every connection.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(c, c) // one after the other
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// dial connects through a link; the test's end closes the connection.
func dial(t *testing.T, k *link) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", k.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLinkDelays: what is delayed arrives in order, as late as it should, and what follows
// closely does not wait for another time.
func TestLinkDelays(t *testing.T) {
	t.Parallel()
	const there, back = 200 * time.Millisecond, time.Second
	k := newLossy(t, echo(t), func(string) bool { return false }) // which brings back each line for itself
	k.delay(there, back)
	c := dial(t, k)
	began := time.Now()
	var sent []byte
	for i := range byte(pieces) {
		sent = append(sent, 'a'+i, '\n')
	}
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%q came, %v; want %q", got, err, sent)
	}
	if took := time.Since(began); took < there+back {
		t.Errorf("there and back took %v; want %v", took, there+back)
	} else if took > there+pieces*back/2 { // much less than that, unless the machine pauses
		t.Errorf("there and back took %v, as if each line waited for the one before", took)
	}
}

// TestLinkIsSlow: who sends through a slow link cannot after a while, and all arrives once
// it is healed.
func TestLinkIsSlow(t *testing.T) {
	t.Parallel()
	k := newLink(t, echo(t))
	k.slow(1<<10, 0)
	c := dial(t, k)
	const most = 64 << 20 // more than any kernel holds
	chunk := make([]byte, 1<<20)
	sent := 0
	var came atomic.Int64
	read := make(chan struct{})
	go func() {
		defer close(read)
		for buffer := make([]byte, 64<<10); ; {
			n, err := c.Read(buffer)
			if came.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-read })
	for sent < most {
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Write(chunk)
		if sent += n; err != nil {
			break
		}
	}
	if sent >= most {
		t.Fatal("the link takes all that there is")
	}
	k.heal()
	eventually(t, "all has come that was sent", func() bool { return came.Load() == int64(sent) })
}

// TestLinkOfOneDirection: one direction is silent, its end included, while the other one
// goes on; what was held back arrives, or is lost with its connection.
func TestLinkOfOneDirection(t *testing.T) {
	t.Parallel()
	for _, healed := range []bool{true, false} {
		k := newLink(t, echo(t))
		c := dial(t, k)
		k.hold(false, true)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the answer is held back", func() bool { return k.answersHeld() == 1 })
		if healed {
			k.heal()
		} else {
			k.cut()
		}
		n, err := c.Read(make([]byte, 1))
		if got := n == 1; got != healed {
			t.Errorf("healed %v: the answer came: %v, %v", healed, got, err)
		}
	}
}

// TestLinkRefuses: no connection comes about until that is allowed again.
func TestLinkRefuses(t *testing.T) {
	t.Parallel()
	k := newLink(t, echo(t))
	passes := func() bool {
		c := dial(t, k)
		defer c.Close()
		c.Write([]byte("x")) // the read tells
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	for _, refused := range []bool{true, false} {
		k.refuse(refused)
		if passes() == refused {
			t.Errorf("refused %v, and it is not so", refused)
		}
	}
}
