package main

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// stuckWriter is a pipe that nobody reads: it takes nothing until it is released.
type stuckWriter struct {
	once              sync.Once
	entered, released chan struct{}
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.entered) })
	<-w.released
	return len(p), nil
}

// startStopped returns what ends a subscriber, and gives its exit code.
func startStopped(t *testing.T, stdout io.Writer, stderr *syncBuffer, args ...string) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &subscriber{t: t, stderr: stderr, code: make(chan int, 1)}
	go func() { s.code <- run(ctx, args, stdout, stderr) }()
	return func() int {
		cancel()
		return s.exit()
	}
}

// TestStopWhileNobodyReads: a signal ends it also while it waits for somebody to take what
// it prints, a pager say.
func TestStopWhileNobodyReads(t *testing.T) {
	conn := startBroker(t)
	w := &stuckWriter{entered: make(chan struct{}), released: make(chan struct{})}
	t.Cleanup(func() { close(w.released) })
	stderr := &syncBuffer{}
	stop := startStopped(t, w, stderr, "-s", conn.ConnectedUrl(), "k")
	e := &fanout.Event{Op: fanout.Put, Key: "k", Value: []byte("v"), Revision: 5, Time: at}
	for deadline, printing := time.After(limit), false; !printing; e.Revision++ {
		publish(t, conn, e)
		select {
		case <-w.entered:
			printing = true
		case <-time.After(20 * time.Millisecond): // not subscribed yet: once more
		case <-deadline:
			t.Fatalf("not printed within %v; on standard error: %s", limit, stderr)
		}
	}
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d; want %d", code, exitOK)
	}
}

// TestStopWhileConnecting: a signal ends it also while a server does not answer, and then
// nothing went wrong.
func TestStopWhileConnecting(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says anything
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	stderr := &syncBuffer{}
	stop := startStopped(t, io.Discard, stderr, "-s", "nats://"+mute.Addr().String(), "k")
	conn, err := mute.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if code := stop(); code != exitOK || stderr.String() != "" {
		t.Errorf("exit code %d, said %q; want %d and nothing", code, stderr, exitOK)
	}
}
