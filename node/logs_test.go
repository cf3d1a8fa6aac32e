package node

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// TestRepeatsAreHeldBack: one line of a kind in a period, with the number of
// those between; and kinds without end cost neither memory nor a line each.
func TestRepeatsAreHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		lines := func() int { return strings.Count(out.String(), "\n") }
		r := newRepeats()
		say := func(level slog.Level, kind string) { r.log(log, level, kind, "text of "+kind) }

		for range 100 {
			say(slog.LevelWarn, "a")
			say(slog.LevelError, "b")
		}
		if lines() != 2 {
			t.Fatalf("%d lines, want one for each kind:\n%s", lines(), &out)
		}
		time.Sleep(repeatPeriod)
		say(slog.LevelWarn, "a")
		if lines() != 3 || !strings.Contains(out.String(), "repeated=99") {
			t.Fatalf("want a third line with the number of those held back:\n%s", &out)
		}
		for range 10 {
			say(slog.LevelInfo, "news")
		}
		if lines() != 13 {
			t.Fatalf("%d lines; what is no complaint is not held back", lines())
		}

		before := lines()
		for i := range 10 * repeatKinds {
			say(slog.LevelError, fmt.Sprint(i))
		}
		if got := lines() - before; got > repeatKinds+1 {
			t.Fatalf("%d lines for kinds without end, want at most %d", got, repeatKinds+1)
		}
		time.Sleep(repeatPeriod)
		for i := range 10 {
			say(slog.LevelError, fmt.Sprint("later ", i))
		}
		if len(r.kinds) > repeatKinds+1 {
			t.Fatalf("%d kinds are kept, want at most %d", len(r.kinds), repeatKinds+1)
		}
	})
}

// TestBrokerComplaints: what the broker says of many clients is one line, and that another node
// is not up yet is no error.
func TestBrokerComplaints(t *testing.T) {
	var out bytes.Buffer
	b := brokerLogger{log: slog.New(slog.NewTextHandler(&out, nil)), repeats: newRepeats()}
	for i := range 100 {
		b.Errorf(fmt.Sprintf("192.0.2.1:%d - cid:%d - \"a - b\" - authentication error - User %%q", i, i), "u")
	}
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "cid:0") {
		t.Errorf("%d lines, want the first:\n%s", n, &out)
	}
	out.Reset()
	b.Errorf(routeTried+" (attempt %v): %v", 1, syscall.ECONNREFUSED)
	if !strings.Contains(out.String(), "level=WARN") || !strings.Contains(out.String(), "refused") {
		t.Errorf("said %q", &out)
	}
}

// TestOrderlyEndIsNoError: a follower that closes its own connections says nothing of them; one
// whose connection breaks does.
func TestOrderlyEndIsNoError(t *testing.T) {
	t.Parallel()
	logs := make(map[string]*logged)
	_, others := split(t, clusterOf(t, 3, func(c *Config) {
		logs[c.ID] = &logged{}
		c.Logger = slog.New(slog.NewTextHandler(logs[c.ID], nil))
	}))
	stop(t, others[0])
	log := logs[others[0].ID()]
	if said := log.lines(ordinaryEnd); len(said) > 0 {
		t.Errorf("the log says %q", said)
	}
	sink := slogSink{slog.New(slog.NewTextHandler(log, nil)), newRepeats()}
	sink.Accept("transport", hclog.Error, ordinaryEnd, "error", syscall.ECONNRESET)
	if said := log.lines(ordinaryEnd); len(said) != 1 || !strings.Contains(said[0], "level=ERROR") {
		t.Errorf("of a connection that broke the log says %q", said)
	}
}
