package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/nats"
)

// limit bounds every wait for something that should take milliseconds.
const limit = 30 * time.Second

func startBroker(t *testing.T) *natsgo.Conn {
	t.Helper()
	return natstest.Connect(t, startBrokerWithUser(t, "", ""))
}

// startBrokerWithUser returns the URL of a broker for one user, or for anybody.
func startBrokerWithUser(t *testing.T, user, password string) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(limit) {
		t.Fatal("the broker is not ready")
	}
	return "nats://" + s.Addr().String()
}

// subscriber is a running run.
type subscriber struct {
	t      *testing.T
	lines  chan string
	stderr *syncBuffer
	code   chan int
	cancel context.CancelFunc
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type lineWriter struct{ lines chan<- string }

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w.lines <- strings.TrimSuffix(line, "\n")
	}
	return len(p), nil
}

func startSubscriber(t *testing.T, args ...string) *subscriber {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &subscriber{t: t, lines: make(chan string, 1024), stderr: &syncBuffer{}, code: make(chan int, 1), cancel: cancel}
	go func() { s.code <- run(ctx, args, lineWriter{s.lines}, s.stderr) }()
	return s
}

func (s *subscriber) line() string {
	s.t.Helper()
	select {
	case line := <-s.lines:
		return line
	case <-time.After(limit):
		s.t.Fatalf("no line within %v; on standard error: %s", limit, s.stderr)
		return ""
	}
}

func (s *subscriber) exit() int {
	s.t.Helper()
	select {
	case code := <-s.code:
		return code
	case <-time.After(limit):
		s.t.Fatalf("did not end within %v", limit)
		return 0
	}
}

// publish sends an event as a node would, again and again until the
// subscriber prints it: it may not have subscribed yet.
func (s *subscriber) publishUntilPrinted(conn *natsgo.Conn, e *fanout.Event) string {
	s.t.Helper()
	deadline := time.After(limit)
	for {
		publish(s.t, conn, e)
		select {
		case line := <-s.lines:
			return line
		case <-deadline:
			s.t.Fatalf("not printed within %v; on standard error: %s", limit, s.stderr)
		case <-time.After(20 * time.Millisecond): // not subscribed yet: once more
			e.Revision++
		}
	}
}

func publish(t *testing.T, conn *natsgo.Conn, e *fanout.Event) {
	t.Helper()
	var subjects nats.Subjects
	if err := subjects.Check(); err != nil {
		t.Fatal(err)
	}
	if err := conn.PublishMsg(subjects.EncodeEvent(e)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

var at = time.Date(2026, 11, 23, 12, 0, 0, 5e8, time.UTC)

func TestLines(t *testing.T) {
	conn := startBroker(t)
	s := startSubscriber(t, "-s", conn.ConnectedUrl(), "app.*", "app.>", "other")
	first := s.publishUntilPrinted(conn, &fanout.Event{Op: fanout.Put, Key: "app.color", Value: []byte("blue"), Revision: 5, Time: at})
	clock := at.Local().Format("15:04:05.000")
	if !regexp.MustCompile(`^` + clock + `  put     app\.color  rev \d+  blue$`).MatchString(first) {
		t.Errorf("printed %q", first)
	}
	for _, c := range []struct {
		event *fanout.Event
		want  string
	}{
		{&fanout.Event{Op: fanout.Delete, Key: "other", Revision: 1001, PrevRevision: 7, Time: at}, clock + "  delete  other  rev 1001"},
		{&fanout.Event{Op: fanout.Put, Key: "app.a b", Value: []byte("two\nlines"), Revision: 1002, Time: at}, clock + `  put     app.a%20b  rev 1002  "two\nlines"`},
		{&fanout.Event{Op: fanout.Put, Key: "app.raw", Value: []byte{0xff}, Revision: 1003, Time: at}, clock + `  put     app.raw  rev 1003  "\xff"`},
		{&fanout.Event{Op: fanout.Put, Key: "app.empty", Value: nil, Revision: 1004, Time: at}, clock + "  put     app.empty  rev 1004  "},
		{&fanout.Event{Op: fanout.Put, Key: "app.long", Value: bytes.Repeat([]byte("x"), 1000), Revision: 1005, Time: at},
			clock + "  put     app.long  rev 1005  " + strings.Repeat("x", shownBytes) + "… (1000 bytes)"},
	} {
		publish(t, conn, &fanout.Event{Op: fanout.Put, Key: "unwatched", Revision: 900, Time: at})
		publish(t, conn, c.event)
		if got := s.line(); got != c.want {
			t.Errorf("printed %q, want %q", got, c.want)
		}
	}
	s.cancel()
	if code := s.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestObjects(t *testing.T) {
	conn := startBroker(t)
	s := startSubscriber(t, "-s", conn.ConnectedUrl(), "--json", ">")
	s.publishUntilPrinted(conn, &fanout.Event{Op: fanout.Put, Key: "k", Revision: 5, Time: at})
	for _, c := range []struct {
		event *fanout.Event
		want  string
	}{
		{&fanout.Event{Op: fanout.Put, Key: "a", Value: []byte("<b>"), Revision: 1001, PrevRevision: 3, Time: at},
			`{"key":"a","op":"put","value":"<b>","revision":1001,"prev_revision":3,"time":"2026-11-23T12:00:00.5Z"}`},
		{&fanout.Event{Op: fanout.Put, Key: "\xff", Value: []byte{0xff}, Revision: 1002, Time: at},
			`{"key":"%FF","op":"put","value_base64":"/w==","revision":1002,"prev_revision":0,"time":"2026-11-23T12:00:00.5Z"}`},
		{&fanout.Event{Op: fanout.Delete, Key: "a", Revision: 1003, PrevRevision: 1001, Time: at},
			`{"key":"a","op":"delete","revision":1003,"prev_revision":1001,"time":"2026-11-23T12:00:00.5Z"}`},
		{&fanout.Event{Op: fanout.Put, Key: "b", Revision: 1004, Batch: 1, BatchSize: 3, Time: at},
			`{"key":"b","op":"put","value":"","revision":1004,"prev_revision":0,"time":"2026-11-23T12:00:00.5Z","batch":"1/3"}`},
	} {
		publish(t, conn, c.event)
		if got := s.line(); got != c.want || !json.Valid([]byte(got)) {
			t.Errorf("printed %s, want %s", got, c.want)
		}
	}
}

func TestCount(t *testing.T) {
	conn := startBroker(t)
	s := startSubscriber(t, "-s", conn.ConnectedUrl(), "--count", "3", ">")
	s.publishUntilPrinted(conn, &fanout.Event{Op: fanout.Put, Key: "k", Revision: 5, Time: at})
	for i := range 5 {
		publish(t, conn, &fanout.Event{Op: fanout.Put, Key: "k", Revision: uint64(1000 + i), Time: at})
	}
	if code := s.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if got := 1 + len(s.lines); got != 3 {
		t.Errorf("printed %d lines, want 3", got)
	}
}

// TestLossIsSaid: what the leader announces as lost, and what is no event, is
// said on standard error, and the rest goes on.
func TestLossIsSaid(t *testing.T) {
	conn := startBroker(t)
	s := startSubscriber(t, "-s", conn.ConnectedUrl(), ">")
	first := &fanout.Event{Op: fanout.Put, Key: "k", Revision: 5, Time: at}
	s.publishUntilPrinted(conn, first)
	if err := conn.Publish("_watch.reset", []byte(`{"cluster":"c","term":2,"from":7,"to":9}`)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Publish("watch.k", []byte("forged")); err != nil {
		t.Fatal(err)
	}
	publish(t, conn, &fanout.Event{Op: fanout.Put, Key: "k", Value: []byte("on"), Revision: 1000, PrevRevision: 900, Time: at})
	if got := s.line(); !strings.HasSuffix(got, "rev 1000  on") {
		t.Errorf("printed %q", got)
	}
	for _, want := range []string{
		"changes may have been missed from revision 7 to 9: the leader may not have published everything\n",
		fmt.Sprintf("changes of k were missed from revision %d to 900: ", first.Revision+1),
		`message on "watch.k" is no event: header Watch-Op`,
	} {
		s.saysEventually(want)
	}
}

// saysEventually waits for something on standard error.
func (s *subscriber) saysEventually(want string) {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(limit); !strings.Contains(s.stderr.String(), want); {
		select {
		case <-tick.C:
		case <-end:
			s.t.Fatalf("standard error is %q; want %q in it", s.stderr, want)
		}
	}
}

func TestBadInput(t *testing.T) {
	conn := startBroker(t)
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no pattern", nil, exitUsage, `pattern`},
		{"unknown flag", []string{"--colour", "k"}, exitUsage, `unknown flag --colour`},
		{"empty token", []string{"a..b"}, exitUsage, `"a..b" is not how .*write "a.%2Eb"`},
		{"empty token beside a wildcard", []string{"a..*"}, exitUsage, `"a..\*" has an empty token`},
		{"bytes that are no text", []string{"a\xff"}, exitUsage, `"a\\xff" is not how this key is written as a subject; write "a%FF"`},
		{"wildcard in a token", []string{"a*"}, exitUsage, `write %2A`},
		{"wildcard in the middle", []string{"a.>.b"}, exitUsage, `> may only be the last token`},
		{"negative count", []string{"--count=-1", "k"}, exitUsage, `--count is -1`},
		{"half a certificate", []string{"--tlscert", "main.go", "k"}, exitUsage, `--tlscert and --tlskey need each other`},
		{"a file that is not there", []string{"--creds", "none.creds", "k"}, exitUsage, `--creds: stat none.creds: no such file`},
		{"a seed that is none", []string{"--nkey", "main.go", "k"}, exitUsage, `--nkey: `},
		{"a seed in a directory", []string{"--nkey", ".", "k"}, exitUsage, `--nkey: \. holds no seed of a user: .*is a directory`},
		{"credentials that are none", []string{"--creds", "main.go", "k"}, exitUsage, `--creds: main\.go holds no JWT and key of a user`},
		{"credentials in a directory", []string{"--creds", ".", "k"}, exitUsage, `--creds: read \.: is a directory`},
		{"two identities", []string{"--nkey", "main.go", "--creds", "main.go", "k"}, exitUsage, `--creds and --nkey exclude each other`},
		{"a password of nobody", []string{"--password", "x", "k"}, exitUsage, `--password needs --user`},
		{"bad root", []string{"--watch-root", "a b", "k"}, exitUsage, `subject root "a b"`},
		{"changes and figures", []string{"--json", "--stats", "k"}, exitUsage, `--json prints changes and --stats figures in their place; give one`},
		{"answers to no subject", []string{"--inbox-prefix", "a b", "k"}, exitUsage, `--inbox-prefix is "a b"; give tokens`},
		{"answers to nothing", []string{"--inbox-prefix", "", "k"}, exitUsage, `--inbox-prefix is empty; give a value, or leave it out`},
		{"answers to an empty token", []string{"--inbox-prefix", "a..b", "k"}, exitUsage, `--inbox-prefix is "a\.\.b"; give tokens`},
		{"answers to an empty first token", []string{"--inbox-prefix", ".x", "k"}, exitUsage, `--inbox-prefix is "\.x"; give tokens`},
		{"answers to an empty last token", []string{"--inbox-prefix", "foo.", "k"}, exitUsage, `--inbox-prefix is "foo\."; give tokens`},
		{"answers to a wildcard", []string{"--inbox-prefix", "foo.>", "k"}, exitUsage, `--inbox-prefix is "foo\.>"; give tokens`},
		{"answers among events", []string{"--inbox-prefix", "watch", "k"}, exitUsage, `--inbox-prefix is "watch", but what matches watch\.> belongs to the nodes`},
		{"answers to a key", []string{"--inbox-prefix", "watch.a", "k"}, exitUsage, `"watch\.a", but what matches watch\.> belongs`},
		{"answers among beacons", []string{"--inbox-prefix", "_watch.x", "k"}, exitUsage, `"_watch\.x", but what matches _watch\.> belongs`},
		{"answers among requests", []string{"--kv-root", "store.one", "--inbox-prefix", "store.one.get", "k"}, exitUsage, `"store\.one\.get", but what matches store\.one\.> belongs`},
		{"an empty server", []string{"--server", "", "k"}, exitUsage, `--server is empty; give a value, or leave it out`},
		{"nobody's credentials", []string{"--creds", "", "k"}, exitUsage, `--creds is empty`},
		{"no servers", []string{"--server", " , ", "k"}, exitUsage, `--server is empty`},
		{"no server", []string{"--server", "nats://127.0.0.1:1", "k"}, exitFailed, `cannot connect to nats://127.0.0.1:1: .*is a node running there\?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args
			if !slices.Contains(args, "--server") {
				args = append([]string{"--server", conn.ConnectedUrl()}, args...)
			}
			var stderr bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if code := run(ctx, args, io.Discard, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			said := stderr.String()
			if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "subscriber: ") || !regexp.MustCompile(c.want).MatchString(said) {
				t.Errorf("said %q; want one line with %q", said, c.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var stdout bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &stdout, io.Discard); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	for _, want := range []string{"subscriber mykey", "--json", fmt.Sprintf("Exit codes: %d stopped", exitOK)} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("--help does not mention %q", want)
		}
	}
}
