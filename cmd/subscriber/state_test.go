package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/nats"
	"github.com/watchcast/watchcast/node"
)

func startNode(t *testing.T) *node.Node {
	t.Helper()
	n, err := node.Start(t.Context(), node.Config{InMemory: true, NATS: "127.0.0.1:0", HTTP: node.Off})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func put(t *testing.T, n *node.Node, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if _, err := n.Put(ctx, key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

// TestState: the present values first, of each key once though two patterns match it,
// then what changes.
func TestState(t *testing.T) {
	n := startNode(t)
	put(t, n, "app.color", "blue")
	put(t, n, "app.size", "1")
	put(t, n, "other", "x")
	s := startSubscriber(t, "-s", n.NATSURL(), "--state", "app.*", "app.color")
	for _, want := range []string{`put     app\.color  rev \d+  blue$`, `put     app\.size   ?rev \d+  1$`} {
		if got := s.line(); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("printed %q, want %q", got, want)
		}
	}
	s.saysEventually("subscriber: at revision ")
	put(t, n, "other", "y")
	put(t, n, "app.color", "red")
	if got := s.line(); !strings.HasSuffix(got, "  red") {
		t.Errorf("printed %q", got)
	}
	s.cancel()
	if code := s.exit(); code != exitOK {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
	if len(s.lines) > 0 {
		t.Errorf("printed %q too", <-s.lines)
	}
}

// TestStats: figures in the place of changes, a line each second where it is no terminal.
func TestStats(t *testing.T) {
	n := startNode(t)
	put(t, n, "a", "1")
	s := startSubscriber(t, "-s", n.NATSURL(), "--state", "--stats", ">")
	s.saysEventually("subscriber: at revision ")
	put(t, n, "a", "2")
	want := regexp.MustCompile(`^changes 2 rate \d+/s delay p50 \S+ p99 \S+ max \S+ losses 0 healed 0 catch-ups \d+ keys 1 waiting 0 fresh$`)
	for end := time.Now().Add(limit); ; {
		line := s.line()
		if want.MatchString(line) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("printed %q; want %v", line, want)
		}
	}
	s.cancel()
	if code := s.exit(); code != exitOK {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
}

// TestMeter: what figures are made of, and that a terminal shows them in one place.
func TestMeter(t *testing.T) {
	now := at
	var out bytes.Buffer
	m := &meter{
		w: &out, say: newSayer(io.Discard), from: &followed{}, redraw: true, now: func() time.Time { return now }, since: at,
		lag: hdrhistogram.New(1, longestLag.Microseconds(), lagDigits),
	}
	for i := range 100 {
		now = at.Add(time.Duration(i+1) * time.Millisecond)
		m.change(nats.Update{Event: &fanout.Event{Time: at}})
	}
	m.change(nats.Update{Event: &fanout.Event{}, Asked: true}) // its age is no delay
	m.note(nats.Update{Kind: nats.Stale})
	now = at.Add(2 * time.Second)
	if err := m.print(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"changes   101, 50/s\n", "p50 50.", "p99 99.", "max 100.", "0 updates wait, stale\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed %q; want %q in it", out.String(), want)
		}
	}
	drawn := out.Len()
	now = now.Add(time.Second)
	if err := m.print(); err != nil {
		t.Fatal(err)
	}
	again := out.String()[drawn:]
	if !strings.HasPrefix(again, "\x1b[4A\x1b[2Kchanges   101, 0/s\n") || !strings.Contains(again, "p50 -, p99 -, max -\n") {
		t.Errorf("printed %q", again)
	}
}

// TestCredentials: a server that wants to know who comes.
func TestCredentials(t *testing.T) {
	url := startBrokerWithUser(t, "app", "secret")
	conn := natstest.Connect(t, url, natsgo.UserInfo("app", "secret"))
	s := startSubscriber(t, "-s", url, "--user", "app", "--password", "secret", "k")
	s.publishUntilPrinted(conn, &fanout.Event{Op: fanout.Put, Key: "k", Revision: 5, Time: at})
	s.cancel()
	s.exit()

	var stderr bytes.Buffer
	code := run(t.Context(), []string{"-s", url, "k"}, io.Discard, &stderr)
	if said := stderr.String(); code != exitFailed || strings.Count(said, "\n") != 1 || !strings.Contains(said, "Authorization Violation; give --user") {
		t.Errorf("exit code %d, said %q", code, said)
	}
}
