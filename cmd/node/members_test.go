package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/watchcast/watchcast/internal/freeport"
)

// clusterArgs are those of a node that others can join, or that joins.
func clusterArgs(t *testing.T, id string, more ...string) []string {
	return append([]string{"--id", id, "--data", t.TempDir(), "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--raft", freeport.Address(t), "--election-timeout", "2s"}, more...)
}

// command runs a command to its end and returns what it printed.
func command(t *testing.T, env []string, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	p := startProcess(t, env, args...)
	if got := p.exit(); got != code {
		t.Fatalf("node %v: exit code %d, want %d; said %q", args, got, code, p.stderr)
	}
	return p.stdout.String(), p.stderr.String()
}

// awaitMembers repeats node members until what it prints matches.
func awaitMembers(t *testing.T, addr, pattern string) {
	t.Helper()
	re, last := regexp.MustCompile(pattern), ""
	for ctx := bounded(t); !re.MatchString(last); {
		if ctx.Err() != nil {
			t.Fatalf("node members prints %q, not %q", last, pattern)
		}
		last, _ = command(t, nil, exitOK, "members", "--http", addr)
	}
}

// TestMembersCommands: two processes join a third, one without a vote; the commands
// list and change who belongs to the cluster, asked through any of them.
func TestMembersCommands(t *testing.T) {
	first := startProcess(t, nil, clusterArgs(t, "n1")...)
	first.ready()
	addr := first.httpAddr()
	second := startProcess(t, []string{"WATCHCAST_JOIN=http://" + addr}, clusterArgs(t, "n2")...)
	second.ready()
	third := startProcess(t, nil, clusterArgs(t, "n3", "--join", "http://"+second.httpAddr(), "--nonvoter")...)
	third.ready()
	awaitMembers(t, addr, `^ID +RAFT +ROLE +HEARD +LOG\nn1 +127\.0\.0\.1:\d+ +leader *\nn2 +127\.0\.0\.1:\d+ +voter +\d+(ms|s) ago +\d+\nn3 +127\.0\.0\.1:\d+ +non-voter +\S+ ago +\d+\n$`)
	awaitMembers(t, third.httpAddr(), `(?m)^n1 .* leader *$\n^n2 .* voter *$\n^n3 .* non-voter *$`)

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"promote", "n3", "--http", third.httpAddr()}, "n3 is a voter now\n"},
		{[]string{"demote", "--http", addr, "n3"}, "n3 has no vote now\n"},
		{[]string{"remove", "n3", "--http", second.httpAddr()}, "n3 is no member now\n"},
	} {
		if out, _ := command(t, nil, exitOK, c.args...); out != c.want {
			t.Errorf("node %v printed %q, want %q", c.args, out, c.want)
		}
	}
	third.waitErr(`level=ERROR msg="this node was removed from its cluster; stop it`)
	if _, said := command(t, nil, exitFailed, "health", "--http", third.httpAddr()); !strings.Contains(said, "removed from its cluster") {
		t.Errorf("node health said %q", said)
	}
	third.signal(syscall.SIGTERM)
	if code := third.exit(); code != exitOK {
		t.Errorf("a removed node ends with exit code %d", code)
	}
	// The leader leaves, told by the environment as beside it.
	if out, _ := command(t, []string{"WATCHCAST_HTTP=" + addr}, exitOK, "leave"); out != "n1 is no member now\n" {
		t.Errorf("node leave printed %q", out)
	}
	awaitMembers(t, second.httpAddr(), `^ID.*\nn2 .* leader *\n$`)
}

// TestMembersCommandsRefused: one line that says what was wrong, and an exit code.
func TestMembersCommandsRefused(t *testing.T) {
	n := startProcess(t, nil, clusterArgs(t, "n1")...)
	n.ready()
	addr := n.httpAddr()
	stranger := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	there := stranger.Listener.Addr().String()
	for _, c := range []struct {
		name string
		code int
		args []string
		want string
	}{
		{"unknown member", exitFailed, []string{"remove", "n9", "--http", addr}, `node remove: no such member: "n9"; the members are n1`},
		{"promote unknown", exitFailed, []string{"promote", "n9", "--http", addr}, `node promote: no such member`},
		{"last voter", exitFailed, []string{"leave", "--http", addr}, `node leave: the last voter: without n1 the cluster would end`},
		{"no id", exitUsage, []string{"remove", "--http", addr}, `node remove: .*<id>.*; see node remove --help`},
		{"an empty id", exitUsage, []string{"promote", "", "--http", addr}, `node promote: <id>: "" is no node's id; node members lists them; see node promote --help`},
		{"a dot", exitUsage, []string{"remove", ".", "--http", addr}, `node remove: <id>: "\." is no node's id`},
		{"two dots", exitUsage, []string{"remove", "..", "--http", addr}, `node remove: <id>: "\.\." is no node's id`},
		{"a dot of several", exitFailed, []string{"remove", "n1/..", "--http", addr}, `node remove: .*no such member`},
		{"an id too many", exitUsage, []string{"members", "n1", "--http", addr}, `node members: unexpected argument n1`},
		{"unknown flag", exitUsage, []string{"demote", "--htp", addr, "n1"}, `node demote: unknown flag --htp`},
		{"no time", exitUsage, []string{"members", "--timeout=-5s", "--http", addr}, `node members: --timeout is -5s; give a time above 0, such as 15s`},
		{"no time for a change", exitUsage, []string{"remove", "n1", "--timeout=0s", "--http", addr}, `node remove: .*--timeout is 0s; give a time above 0`},
		{"nobody there", exitFailed, []string{"members", "--http", freeport.Address(t)}, `node members: no node answers at .*refused; is it running`},
		{"another server", exitFailed, []string{"members", "--http", there}, `node members: .* answers with 404 Not Found; is this a Watchcast node`},
		{"no HTTP", exitFailed, []string{"members", "--http", "off"}, `node members: --http is off`},
		{"join nowhere", exitUsage, []string{"--dev", "--join", "here", "--raft", "127.0.0.1:1"}, `node: bad configuration: Join is "here"; give the HTTP URL`},
		{"join without Raft", exitUsage, []string{"--dev", "--join", "http://" + addr}, `node: bad configuration: Join needs Raft`},
		{"a taken id", exitFailed, clusterArgs(t, "n1", "--join", "http://"+addr), `node: cannot join http://` + addr + `: refused: taken by a member: n1 is at`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, said := command(t, nil, c.code, c.args...)
			if strings.Count(said, "\n") != 1 || !regexp.MustCompile(`^`+c.want).MatchString(said) {
				t.Errorf("said %q; want one line that begins with %q", said, c.want)
			}
		})
	}
}

// TestMembersCommandsInterrupted: who does not wait for the answer is told what that means.
func TestMembersCommandsInterrupted(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"members"}, "node members: interrupted\n"},
		{[]string{"remove", "n1"}, "node remove: interrupted; a change may have been made, node members tells\n"},
		{[]string{"health"}, "node health: interrupted\n"},
	} {
		p := startProcess(t, nil, append(c.args, "--http", mute.Addr().String(), "--timeout", limit.String())...)
		conn, err := mute.Accept()
		if err != nil {
			t.Fatal(err)
		}
		p.signal(os.Interrupt)
		if code, said := p.exit(), p.stderr.String(); code != exitFailed || said != c.want {
			t.Errorf("exit code %d, said %q; want %d and %q", code, said, exitFailed, c.want)
		}
		conn.Close()
	}
	_, said := command(t, nil, exitFailed, "members", "--http", mute.Addr().String(), "--timeout", "50ms")
	if want := "node members: the node at " + mute.Addr().String() + " did not answer within 50ms\n"; said != want {
		t.Errorf("said %q; want %q", said, want)
	}
}
