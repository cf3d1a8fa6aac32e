package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/watchcast/watchcast/node"
)

// withFiles starts a node that may open so many files.
func withFiles(t *testing.T, files int, args ...string) *process {
	t.Helper()
	return startAs(t, []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, files), os.Args[0]}, nil, args...)
}

// TestMoreClientsThanFiles: where more come than a node may open files for, over NATS and over
// HTTP, those that are too many are told so. The node goes on: it leads, begins segments of its
// log, takes snapshots, and says that it is well.
func TestMoreClientsThanFiles(t *testing.T) {
	t.Parallel()
	const files = 256
	p := withFiles(t, files, nodeArgs(t.TempDir(), "--raft", "127.0.0.1:0", "--max-log-bytes", "16777216")...)
	p.ready()
	writer := connect(t, p.url())
	putKey(t, writer, "first", "v")
	before := statusOf(t, p)

	var guests []*natsgo.Conn
	for range 2 * files {
		conn, err := natsgo.Connect(p.url(), natsgo.NoReconnect())
		if err == nil {
			guests = append(guests, conn)
			t.Cleanup(conn.Close)
		} else if failed, ok := errors.AsType[net.Error](err); ok && failed.Timeout() {
			t.Fatalf("behind %d clients nobody is told anything: %v", len(guests), err)
		}
	}
	// A client of nats.go writes before it reads this, which may fail first.
	if said := saysFirst(t, strings.TrimPrefix(p.url(), "nats://")); !strings.Contains(said, "-ERR 'maximum connections exceeded'") {
		t.Errorf("who is refused is told %q", said)
	}
	if len(guests) < files/4 || len(guests) > files*3/4 {
		t.Errorf("%d of %d clients are let in", len(guests), 2*files)
	}
	var readers []net.Conn
	for range 2 * files {
		if conn := ask(t, p.httpAddr(), "/v1/status"); conn != nil {
			readers = append(readers, conn)
		}
	}
	if len(readers) < 8 || len(readers) > files/4 {
		t.Errorf("%d of %d connections are kept by HTTP", len(readers), 2*files)
	}

	pushed := make(chan struct{})
	var pushing sync.WaitGroup
	pushing.Go(func() { // who is refused comes again
		for {
			select {
			case <-pushed:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if conn, err := natsgo.Connect(p.url(), natsgo.NoReconnect()); err == nil {
				conn.Close()
			}
		}
	})
	for i := range 70 { // a segment, and some
		putKey(t, writer, fmt.Sprint("large.", i%10), strings.Repeat("v", 1_000_000))
	}
	close(pushed)
	pushing.Wait()
	if code, _, wrong := ended(t, "health", "--http", p.httpAddr()); code != exitOK {
		t.Errorf("it is not well: %q", wrong)
	}
	for _, conn := range readers {
		conn.Close()
	}
	after := statusOf(t, p)
	if after.Term != before.Term || after.Leader != before.Leader || after.Log.Snapshot == 0 {
		t.Errorf("leader %s of term %d, snapshot of %d bytes; it led in term %d", after.Leader, after.Term, after.Log.Snapshot, before.Term)
	}
	if after.Clients.Limit != len(guests)+1 || after.Clients.Connected != after.Clients.Limit {
		t.Errorf("the status has %+v; there are %d and the one that writes", after.Clients, len(guests))
	}
	p.waitErr(`maximum connections exceeded`)
	if lines := strings.Count(p.stderr.String(), "\n"); lines > 50 {
		t.Errorf("it says %d lines", lines)
	}
	for _, conn := range guests {
		conn.Close()
	}
	putKey(t, connectSoon(t, p.url()), "last", "v")
}

// saysFirst returns what is said at an address to who says nothing, until it is closed.
func saysFirst(t *testing.T, addr string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(limit))
	said, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("it stays: %v, after %q", err, said)
	}
	return string(said)
}

// ask makes a request on a connection of its own, and returns that if it is kept open.
func ask(t *testing.T, addr, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(limit))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: n1\r\n\r\n", path)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil // closed
	}
	defer resp.Body.Close()
	if resp.Close {
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s, and the connection is closed", resp.Status)
		}
		return nil
	}
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s", path, resp.Status)
	}
	return conn
}

// statusOf asks as soon as there is room.
func statusOf(t *testing.T, p *process) (s node.Status) {
	t.Helper()
	for ctx := bounded(t); ; {
		resp, err := http.Get("http://" + p.httpAddr() + "/v1/status")
		if err == nil {
			err = json.NewDecoder(resp.Body).Decode(&s)
			resp.Body.Close()
		}
		if err == nil {
			return s
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// TestTooFewFiles: with a limit that leaves no room for clients a node does not start, and says
// on one line what it needs.
func TestTooFewFiles(t *testing.T) {
	t.Parallel()
	p := withFiles(t, 60, nodeArgs(t.TempDir())...)
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	p.oneLine(`^node: too few open files: the process may have 60, and a node needs 128 or more; raise the limit \(ulimit -n`)
	p = withFiles(t, 256, nodeArgs(t.TempDir(), "--max-clients", "250")...)
	if code := p.exit(); code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
	p.oneLine(`MaxClients is 250, .* \(--max-clients\)\n$`)
}

// TestNoFileForAMoment: a node that has no file for the next segment of its log, because for a
// moment more connections are accepted than are kept, waits for one, and goes on.
func TestNoFileForAMoment(t *testing.T) {
	p := startProcess(t, nil, nodeArgs(t.TempDir())...)
	p.ready()
	writer := connect(t, p.url())
	before := statusOf(t, p)
	var most unix.Rlimit
	limitFiles := func(to, was *unix.Rlimit) {
		t.Helper()
		if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, to, was); err != nil {
			t.Fatal(err)
		}
	}
	limitFiles(nil, &most)
	written := make(chan struct{})
	for i := range 60 { // most of a segment
		putKey(t, writer, fmt.Sprint("large.", i%10), strings.Repeat("v", 1_000_000))
	}
	limitFiles(&unix.Rlimit{Cur: 3, Max: most.Max}, nil)
	go func() { // until the test ends, at the latest
		defer close(written)
		for i := range 10 { // and some
			for !writer.IsClosed() {
				if _, err := tryPut(writer, fmt.Sprint("large.", i%10), strings.Repeat("v", 1_000_000)); err == nil {
					break
				}
			}
		}
	}()
	p.waitErr(`no file is left for the next segment of the log, which waits for one; raise the limit`)
	limitFiles(&most, nil)
	select {
	case <-written:
	case <-p.done:
		t.Error("it ended")
	case <-time.After(limit):
		t.Error("it does not go on")
	}
	if after := statusOf(t, p); after.Term != before.Term {
		t.Errorf("term %d, was %d", after.Term, before.Term)
	}
}
