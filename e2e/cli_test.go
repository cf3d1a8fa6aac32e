//go:build cli

package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// TestNatsCommand is the first session of the README with the real nats
// command.
func TestNatsCommand(t *testing.T) {
	n := startNode(t, t.TempDir())
	sub := n.watching("mykey", natsCLI(), "-s", n.url, "--no-context", "sub", "watch.mykey")

	rev := mustMatch(t, "put", n.nats("req", "kv.put.mykey", "hello"), `Watch-Rev: (\d+)`)[1]
	seen := sub.waitFor(`(?s)Watch-Rev: ` + rev + `\b.*?hello`)[0]
	mustMatch(t, "headers", sub.output(), `Watch-Op: put`)
	mustMatch(t, "headers", sub.output(), `Watch-Prev: \d+`)
	mustMatch(t, "headers", sub.output(), `Watch-Time: \d{4}-\d\d-\d\dT`)
	if !strings.Contains(seen, "hello") {
		t.Fatalf("value is missing in %q", seen)
	}

	get := n.nats("req", "kv.get.mykey", "")
	mustMatch(t, "get", get, `Watch-Rev: `+rev)
	mustMatch(t, "get", get, `(?m)^hello$`)

	stale := n.nats("req", "kv.stale.get.mykey", "", "-H", "Kv-Min-Rev:"+rev)
	mustMatch(t, "stale get", stale, `Watch-Rev: `+rev)
	mustMatch(t, "stale get", stale, `(?m)^hello$`)

	conflict := n.nats("req", "kv.put.mykey", "late", "-H", "Kv-If-Rev:1")
	mustMatch(t, "conflict", conflict, `Nats-Service-Error-Code: 409`)
	mustMatch(t, "conflict", conflict, `Nats-Service-Error: .*revision `+rev)
	mustMatch(t, "conditional put", n.nats("req", "kv.put.mykey", "second", "-H", "Kv-If-Rev:"+rev), `Watch-Rev: \d+`)
	sub.waitFor(`second`)

	batch := n.nats("req", "kv.batch", `[{"op":"put","key":"mykey","value":"third"},{"op":"put","key":"other","value":"x","if_rev":0}]`)
	atomic := mustMatch(t, "batch", batch, `Watch-Rev: (\d+)`)[1]
	sub.waitFor(`third`)
	mustMatch(t, "position in the batch", sub.output(), `Watch-Batch: 0/2`)
	mustMatch(t, "the rest of the batch", n.nats("req", "kv.get.other", ""), `Watch-Rev: `+atomic)
	again := n.nats("req", "kv.batch", `[{"op":"put","key":"mykey","value":"never"},{"op":"put","key":"other","value":"y","if_rev":0}]`)
	mustMatch(t, "refused batch", again, `Nats-Service-Error: .*"other" is at revision `+atomic)

	gone := mustMatch(t, "delete", n.nats("req", "kv.delete.mykey", ""), `Watch-Rev: (\d+)`)[1]
	sub.waitFor(`Watch-Rev: ` + gone + `\b`)
	sub.waitFor(`Watch-Op: delete`)
	mustMatch(t, "get of a deleted key", n.nats("req", "kv.get.mykey", ""), `Nats-Service-Error-Code: 404`)
	mustMatch(t, "delete of a deleted key", n.nats("req", "kv.delete.mykey", ""), `Nats-Service-Error-Code: 404`)
	if out := sub.output(); strings.Contains(out, "late") || strings.Contains(out, "never") {
		t.Fatalf("a refused put was published:\n%s", out)
	}
	once := []string{"req", "kv.put.once", "x", "-H", "Kv-If-Rev:0", "-H", "Kv-Request-Id:17"}
	first := mustMatch(t, "request with an id", n.nats(once...), `Watch-Rev: (\d+)`)[1]
	mustMatch(t, "the same request", n.nats(once...), `Watch-Rev: `+first+`\b`)
	mustMatch(t, "another with its id", n.nats("req", "kv.put.other", "x", "-H", "Kv-Request-Id:17"), `Nats-Service-Error: .*17`)

	n.nats("req", "kv.put.lease", "x", "-H", "Kv-TTL:1h")
	mustMatch(t, "time to live", n.nats("req", "kv.get.lease", ""), `Kv-TTL: 59m`)
	n.nats("req", "kv.put.mykey", "fleeting", "-H", "Kv-TTL:300ms")
	sub.waitFor(`Watch-Op: expire`)
	mustMatch(t, "get of an expired key", n.nats("req", "kv.get.mykey", ""), `Nats-Service-Error-Code: 404`)

	mustMatch(t, "micro", n.nats("micro", "ls"), `watchcast`)
	mustMatch(t, "micro", n.nats("micro", "info", "watchcast"), `kv\.put\.>`)
	mustMatch(t, "micro", n.nats("micro", "info", "watchcast-replica"), `kv\.stale\.get\.>`)
}

func TestNatsCommandBadInput(t *testing.T) {
	n := startNode(t, t.TempDir())
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no key", []string{"req", "kv.put", "x"}, `Error-Code: 400`},
		{"key too long", []string{"req", "kv.put." + strings.Repeat("k", 1025), "x"}, `Error-Code: 413`},
		{"malformed escape", []string{"req", "kv.put.a%zz", "x"}, `Error-Code: 400`},
		{"malformed condition", []string{"req", "kv.put.a", "x", "-H", "Kv-If-Rev:new"}, `Error-Code: 400`},
		{"unknown header", []string{"req", "kv.put.a", "x", "-H", "Kv-Color:blue"}, `Error-Code: 400`},
		{"malformed time to live", []string{"req", "kv.put.a", "x", "-H", "Kv-TTL:soon"}, `Error: header Kv-TTL is "soon"; give one time to live`},
		{"time to live too long", []string{"req", "kv.put.a", "x", "-H", "Kv-TTL:90000h"}, `Error: bad time to live: it is 90000h0m0s; give up to 87600h`},
		{"request id too long", []string{"req", "kv.put.a", "x", "-H", "Kv-Request-Id:" + strings.Repeat("i", 65)}, `Error: bad request id`},
		{"malformed minimum", []string{"req", "kv.stale.get.a", "", "-H", "Kv-Min-Rev:new"}, `Error-Code: 400`},
		{"malformed batch", []string{"req", "kv.batch", "a=1"}, `Error-Code: 400`},
		{"key twice in a batch", []string{"req", "kv.batch", `[{"op":"delete","key":"a"},{"op":"delete","key":"a"}]`}, `Error: bad batch: key "a" occurs twice`},
		{"unknown operation", []string{"req", "kv.steal.a", "x"}, `(?i)no responders`},
		{"forged event", []string{"pub", "watch.a", "forged"}, `(?i)permissions violation`},
		{"forged beacon", []string{"pub", "_watch.beacon", "forged"}, `(?i)permissions violation`},
		{"stolen requests", []string{"sub", "kv.>", "--count", "1"}, `(?i)permissions violation`},
		{"stolen requests, in a group", []string{"sub", "kv.>", "--queue", "q", "--count", "1"}, `(?i)permissions violation`},
	} {
		t.Run(c.name, func(t *testing.T) {
			mustMatch(t, c.name, n.nats(c.args...), c.want)
		})
	}
	mustMatch(t, "nothing was stored", n.nats("req", "kv.get.a", ""), `Error-Code: 404`)
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir)
	mustMatch(t, "put", n.nats("req", "kv.put.app.color", "blue"), `Watch-Rev`)
	if code := n.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}

	n = startNode(t, dir)
	mustMatch(t, "get after a restart", n.nats("req", "kv.get.app.color", ""), `(?m)^blue$`)
	sub := n.watching("probe", filepath.Join(bin, "subscriber"), "-s", n.url, "--json", ">")
	mustMatch(t, "put", n.nats("req", "kv.put.app.color", "green"), `Watch-Rev`)
	sub.waitFor(`"green"`)
	for line := range strings.Lines(sub.output()) {
		var e struct{ Key, Value, Op string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q is no JSON: %v", line, err)
		}
		if e.Value == "blue" {
			t.Fatalf("what was announced before the restart is announced again: %s", line)
		}
	}
	if code := sub.stop(); code != 0 {
		t.Fatalf("subscriber: exit code %d after SIGTERM", code)
	}
}

func TestSubscriberCounts(t *testing.T) {
	n := startNode(t, t.TempDir(), "--demo")
	sub := start(t, filepath.Join(bin, "subscriber"), "-s", n.url, "--count", "3", "demo.count", "demo.*")
	if code := sub.exit(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if got := strings.Count(sub.output(), "\n"); got != 3 {
		t.Fatalf("printed %d lines, want 3", got)
	}
	mustMatch(t, "line", sub.output(), `\d\d:\d\d:\d\d\.\d{3}  put     demo\.\w+  rev \d+  \S+`)
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir)
	second := start(t, filepath.Join(bin, "node"), "--data", dir, "--nats", "127.0.0.1:0", "--http", "off")
	if code := second.exit(); code != 1 {
		t.Fatalf("exit code %d, want 1", code)
	}
	mustMatch(t, "second process", second.output(), `^node: data directory .*another process is using it.*\n$`)
	third := start(t, filepath.Join(bin, "node"), "--dev", "--nats", strings.TrimPrefix(n.url, "nats://"), "--http", "off")
	if code := third.exit(); code != 1 {
		t.Fatalf("exit code %d, want 1", code)
	}
	mustMatch(t, "port in use", third.output(), `^node: cannot listen on 127\.0\.0\.1:\d+ for NATS.*\n$`)
	mustMatch(t, "the first one goes on", n.nats("req", "kv.put.a", "x"), `Watch-Rev`)
}
