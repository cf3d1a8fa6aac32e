package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// httpAddr is where a node that has greeted serves HTTP.
func (p *process) httpAddr() string {
	p.t.Helper()
	return p.wait(`HTTP\s+http://(\S+)`)[1]
}

// TestHealth asks a running node, by flag and by environment, also where the
// node listens on every address.
func TestHealth(t *testing.T) {
	n := startProcess(t, nil, nodeArgs(t.TempDir())...)
	addr := n.httpAddr()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  []string
		args []string
	}{
		{"flag", nil, []string{"--http", addr}},
		{"environment", []string{"WATCHCAST_HTTP=" + addr}, nil},
		{"every address", []string{"WATCHCAST_HTTP=0.0.0.0:" + port}, nil},
		{"every address of IPv6", []string{"WATCHCAST_HTTP=[::]:" + port}, nil},
		{"every address, unnamed", []string{"WATCHCAST_HTTP=:" + port}, nil},
		{"a node's whole environment", []string{"WATCHCAST_HTTP=" + addr, "WATCHCAST_ID=n1", "WATCHCAST_PEERS=n1=a:1,n2=b:2", "WATCHCAST_NATS=0.0.0.0:4222"}, nil},
		{"a proxy that does not exist", []string{"WATCHCAST_HTTP=" + addr, "HTTP_PROXY=http://192.0.2.1:1"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startProcess(t, c.env, append([]string{"health"}, c.args...)...)
			if code := p.exit(); code != exitOK {
				t.Errorf("exit code %d, said %q", code, p.stderr)
			}
			if got := p.stdout.String(); got != "ready\n" {
				t.Errorf("printed %q", got)
			}
		})
	}
}

// TestNotHealthy: whatever is wrong gets exit code 1 and one line that says what
// and what to do.
func TestNotHealthy(t *testing.T) {
	waiting := freeport.Address(t)
	startProcess(t, nil, "--dev", "--nats", "127.0.0.1:0", "--raft", "127.0.0.1:0", "--http", waiting,
		"--peers", "node-1=127.0.0.1:1,gone=127.0.0.1:2,gone-too=127.0.0.1:3")
	awaitListener(t, waiting)

	stranger := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })

	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no leader", []string{"--http", waiting}, `the node at ` + waiting + ` is not ready: no leader; are a majority of the nodes up`},
		{"nobody there", []string{"--http", freeport.Address(t)}, `no node answers at 127\.0\.0\.1:\d+: .*refused; is it running`},
		{"another server", []string{"--http", stranger.Listener.Addr().String()}, `answers /readyz with 404 Not Found; is this a Watchcast node`},
		{"no answer", []string{"--http", mute.Addr().String(), "--timeout", "50ms"}, `did not answer within 50ms; is it starting, stuck`},
		{"off", []string{"--http", "off"}, `--http is off, so nobody can ask`},
		{"any port", []string{"--http", "127.0.0.1:0"}, `--http is "127.0.0.1:0"; give the host:port`},
		{"no port", []string{"--http", "localhost"}, `--http is "localhost"; give the host:port`},
		{"malformed host", []string{"--http", "a b:1"}, `--http is "a b:1"; give the host:port`},
		{"unknown flag", []string{"--htp", "x"}, `unknown flag --htp.*; see node health --help`},
		{"malformed time", []string{"--timeout", "long"}, `--timeout`},
		{"no time", []string{"--timeout", "0s"}, `--timeout is 0s; give a time above 0, such as 3s; see node health --help`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, nil, append([]string{"health"}, c.args...)...)
			if code := p.exit(); code != exitFailed {
				t.Errorf("exit code %d, want %d", code, exitFailed)
			}
			said := p.stderr.String()
			if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "node health: ") || !regexp.MustCompile(c.want).MatchString(said) {
				t.Errorf("said %q; want one line that begins with node health: and has %q", said, c.want)
			}
		})
	}
}

// TestNearby: what is listened on everywhere is asked for here.
func TestNearby(t *testing.T) {
	for listen, want := range map[string]string{
		"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "127.0.0.1",
		"127.0.0.2": "127.0.0.2", "::1": "::1", "n1": "n1", "192.0.2.7": "192.0.2.7",
	} {
		if got := nearby(listen); got != want {
			t.Errorf("nearby(%q) is %q, want %q", listen, got, want)
		}
	}
	for listen, want := range map[string]string{
		"nats://0.0.0.0:4222":     "nats://127.0.0.1:4222",
		"http://[::]:8080":        "http://127.0.0.1:8080",
		"nats://a:4222,nats://b":  "nats://a:4222,nats://b",
		"nats://broker.test:4222": "nats://broker.test:4222",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("reachable(%q) is %q, want %q", listen, got, want)
		}
	}
}

// awaitListener returns when somebody accepts connections at addr.
func awaitListener(t *testing.T, addr string) {
	t.Helper()
	for ctx := bounded(t); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
	}
}
