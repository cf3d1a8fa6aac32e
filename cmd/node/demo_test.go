package main

import (
	"crypto/tls"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/watchcast/watchcast/internal/freeport"
)

// nextCount returns the next value of demo.count that w receives.
func nextCount(t *testing.T, w *witness) int {
	t.Helper()
	for ctx := bounded(t); ; {
		select {
		case m := <-w.messages:
			if m.Subject != "watch.demo.count" {
				continue
			}
			count, err := strconv.Atoi(string(m.Data))
			if err != nil {
				t.Fatal(err)
			}
			return count
		case <-ctx.Done():
			t.Fatal("demo.count does not change")
		}
	}
}

// TestDemo: the demo's keys change.
func TestDemo(t *testing.T) {
	p := startProcess(t, nil, "--dev", "--demo", "--nats", "127.0.0.1:0", "--http", "off")
	w := newWitness(t, connect(t, p.url()))
	counts := make(map[string]bool)
	for ctx := bounded(t); len(counts) < 2; {
		select {
		case m := <-w.messages:
			if m.Subject == "watch.demo.count" {
				counts[string(m.Data)] = true
			}
		case <-ctx.Done():
			t.Fatalf("demo.count had only the values %v", counts)
		}
	}
}

// TestDemoCommand: a writer of its own goes on where it was when the node
// comes back, says what happened in between, and ends in order.
func TestDemoCommand(t *testing.T) {
	dir, addr := t.TempDir(), freeport.Address(t)
	args := []string{"--data", dir, "--nats", addr, "--http", "off"}
	first := startProcess(t, nil, args...)
	first.ready()
	w := newWitness(t, connect(t, "nats://"+addr))
	writer := startProcess(t, nil, "demo", "--server", "nats://"+addr)
	writer.wait(`Writing demo\.time, demo\.count and demo\.color every second to nats://` + regexp.QuoteMeta(addr))
	last := nextCount(t, w)
	first.kill()

	second := startProcess(t, nil, args...)
	second.ready()
	w = newWitness(t, connectSoon(t, "nats://"+addr))
	next := nextCount(t, w)
	for next <= last { // published before the crash perhaps, and so once more
		next = nextCount(t, w)
	}
	if following := nextCount(t, w); following != next && following != next+1 {
		t.Errorf("demo.count goes from %d to %d", next, following)
	}
	writer.signal(syscall.SIGTERM)
	if code := writer.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if said := writer.stderr.String(); !strings.Contains(said, "node demo: disconnected") || !strings.Contains(said, "node demo: connected again, to nats://"+addr) {
		t.Errorf("said %q", said)
	}
}

// TestSubjectRoots: with roots of its own a node greets with them, and the writer and clients
// that have them reach it.
func TestSubjectRoots(t *testing.T) {
	p := startProcess(t, []string{"WATCHCAST_KV_ROOT=team.kv"}, "--dev", "--watch-root", "team.watch", "--nats", "127.0.0.1:0", "--http", "off")
	p.wait(`nats sub -s \S+ team\.watch\.mykey\s+nats req -s \S+ team\.kv\.put\.mykey hello`)
	events, err := connect(t, p.url()).SubscribeSync("team.watch.demo.count")
	if err != nil {
		t.Fatal(err)
	}
	startProcess(t, nil, "demo", "--server", p.url(), "--kv-root", "team.kv")
	if _, err := events.NextMsgWithContext(bounded(t)); err != nil {
		t.Error(err)
	}
	if _, said := command(t, nil, exitUsage, "demo", "--kv-root", "a b"); !strings.HasPrefix(said, `node demo: --kv-root: `) || !strings.Contains(said, `"a b"`) {
		t.Errorf("said %q", said)
	}
}

// TestDemoCommandWithoutNode ends with one line that says what to do, and shows no
// password, whatever is wrong with the URL.
func TestDemoCommandWithoutNode(t *testing.T) {
	for _, c := range []struct {
		server, want string
		code         int
	}{
		{"nats://user:secret@" + freeport.Address(t), `cannot connect to nats://127\.0\.0\.1:\d+: .*; is a node running there\?`, exitFailed},
		{"nats://user:secret@127.0.0.1:4222:bad", `cannot connect to nats://127\.0\.0\.1:4222:bad: invalid port ":bad" after host; is a node running there\?`, exitFailed},
		{"", `--server is empty; give the URL of a server; see node demo --help`, exitUsage},
	} {
		if _, said := command(t, nil, c.code, "demo", "-s", c.server); !regexp.MustCompile(`^node demo: `+c.want+`\n$`).MatchString(said) || strings.Contains(said, "secret") {
			t.Errorf("%q: said %q", c.server, said)
		}
	}
}

// TestDemoCommandRefused: where a node runs, and does not let the writer in or is not trusted,
// the line says that, and does not ask whether one runs.
func TestDemoCommandRefused(t *testing.T) {
	files := certificates(t)
	file := func(i int) string { _, path, _ := strings.Cut(files[i], "="); return path }
	pair, err := tls.LoadX509KeyPair(file(0), file(1))
	if err != nil {
		t.Fatal(err)
	}
	broker := ownBroker(t, &server.Options{Username: "user", Password: "right", TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, TLSTimeout: 5})
	url := "tls://user:wrong@" + broker.Addr().String()
	for _, c := range []struct {
		env  []string
		want string
	}{
		{nil, `tls: .*certificate.*; have SSL_CERT_FILE name the file of its CA`},
		{[]string{"SSL_CERT_FILE=" + file(2)}, `Authorization Violation; give user and password in the URL of --server\n$`},
	} {
		_, said := command(t, c.env, exitFailed, "demo", "-s", url)
		if !regexp.MustCompile(c.want).MatchString(said) || strings.Count(said, "\n") != 1 || strings.Contains(said, "wrong") {
			t.Errorf("said %q; want %q", said, c.want)
		}
	}
}
