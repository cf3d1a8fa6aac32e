// Package check runs the watcher in C that lies beside it.
package check

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/node"
)

// build compiles the example, which needs a C compiler and Debian's libnats-dev.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "watch")
	out, err := exec.CommandContext(t.Context(), "cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o", binary, "../watch.c", "-lnats").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// program is the example at work.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func start(t *testing.T, ctx context.Context, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.CommandContext(ctx, build(t), args...)}
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(stdout)
	return p
}

func (p *program) expect(want string) {
	p.t.Helper()
	if !p.lines.Scan() || p.lines.Text() != want {
		p.t.Fatalf("printed %q; want %q; on standard error:\n%s", p.lines.Text(), want, &p.stderr)
	}
}

// interrupt ends the program, which must not print anything more.
func (p *program) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	if p.lines.Scan() {
		p.t.Errorf("printed %q too", p.lines.Text())
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%v; on standard error:\n%s", err, &p.stderr)
	}
}

// TestWatch runs the example against a node.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes seconds
	defer cancel()
	n, err := node.Start(ctx, node.Config{InMemory: true, NATS: "127.0.0.1:0", HTTP: node.Off})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	p := start(t, ctx, n.NATSURL(), "app.>")
	p.expect("watching watch.app.>")
	put, err := n.Put(ctx, "app.a b", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	p.expect(fmt.Sprintf("put app.a%%20b rev %d one", put))
	deleted, err := n.Delete(ctx, "app.a b")
	if err != nil {
		t.Fatal(err)
	}
	p.expect(fmt.Sprintf("delete app.a%%20b rev %d ", deleted))
	p.interrupt()
}

// TestLosses: of events that a leader has published, some arrive twice and some not at
// all. Here the test is the leader.
func TestLosses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	go broker.Start()
	defer broker.WaitForShutdown()
	defer broker.Shutdown()
	if !broker.ReadyForConnections(time.Minute) {
		t.Fatal("the broker is not ready")
	}
	conn, err := nats.Connect(broker.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	publish := func(subject, value string, header ...string) {
		t.Helper()
		m := &nats.Msg{Subject: subject, Data: []byte(value), Header: nats.Header{}}
		for i := 0; i < len(header); i += 2 {
			m.Header[header[i]] = []string{header[i+1]}
		}
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	event := func(op, value, revision, previous string) {
		t.Helper()
		publish("watch.k", value, "Watch-Op", op, "Watch-Rev", revision, "Watch-Prev", previous)
	}
	if _, err := conn.Subscribe("kv.get.k", func(m *nats.Msg) {
		publish(m.Reply, "newest", "Watch-Rev", "31")
	}); err != nil {
		t.Fatal(err)
	}

	p := start(t, ctx, broker.ClientURL(), "*")
	p.expect("watching watch.*")
	event("put", "a", "5", "3") // nothing is known of before
	p.expect("put k rev 5 a")
	event("put", "a", "5", "3") // a repeat
	event("put", "", "4", "3")  // late
	event("put", "b", "8", "5")
	p.expect("put k rev 8 b")
	event("put", "c", "20", "12")
	p.expect("put k rev 20 c")
	p.expect("missed a change of k above revision 8")
	p.expect("now k rev 31 newest")
	event("put", "d", "30", "0") // it was deleted in between
	p.expect("put k rev 30 d")
	p.expect("missed a change of k above revision 20")
	p.expect("now k rev 31 newest")
	event("delete", "", "32", "30")
	p.expect("delete k rev 32 ")
	event("put", "e", "40", "0") // its deletion was forgotten
	p.expect("put k rev 40 e")
	publish("_watch.reset", `{"from":33,"to":39}`)
	p.expect(`may have missed {"from":33,"to":39}`)
	p.interrupt()
}

// TestRefused: a client that is refused when it comes again, because there are users now,
// gives up; the program says so and ends.
func TestRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes some seconds
	defer cancel()
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	defer broker.WaitForShutdown()
	defer broker.Shutdown()
	p := start(t, ctx, broker.ClientURL(), "*")
	p.expect("watching watch.*")
	users := &server.Options{Host: "127.0.0.1", Port: broker.Addr().(*net.TCPAddr).Port, NoSigs: true, NoLog: true, Authorization: "secret"}
	if err := broker.ReloadOptions(users); err != nil {
		t.Fatal(err)
	}
	err = p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(p.stderr.String(), "connection is closed") {
		t.Errorf("%v; on standard error:\n%s", err, &p.stderr)
	}
}

// TestUsage: without a URL and a pattern the program says how it is used.
func TestUsage(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), build(t)).CombinedOutput()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 2 || string(out) != "usage: watch URL PATTERN\n" {
		t.Errorf("%v: %s", err, out)
	}
}
