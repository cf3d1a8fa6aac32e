package nats

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// TestBrokenHeadersAreRefused: a request with headers of which one line cannot be read is
// delivered as if it had none, and of one with an empty line among them, as from a value that
// ends with a line feed, what follows is not. It is refused, by every operation, so that no
// condition is dropped; and of any number of them the log has one line.
func TestBrokenHeadersAreRefused(t *testing.T) {
	k := startKV(t, newMapBackend())
	var log lockedBuffer
	replica, err := StartReplica(newReplicaBackend(), ServiceOptions{
		Conn: dial(t, "", nats.InProcessServer(k.broker)), Version: "1.2.3", Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(replica.Stop)
	r := k.inbox(64)
	for _, subject := range []string{
		"kv.put.a", "kv.delete.a", "kv.get.a", "kv.batch", "kv.list", "kv.list.a", "kv.since",
		"kv.stale.get.a", "kv.stale.list", "kv.stale.since",
	} {
		for _, lines := range []string{"Kv-If-Rev: 7\r\ngarbage", "garbage\r\nKv-Request-Id: x", "Kv-If-Rev 7",
			"X-Other: y\r\n\r\nKv-If-Rev: 7", "\r\nKv-If-Rev: 7", "X-Other: y\n\r\nKv-TTL:1",
			"A:1\r\nB:2\r\nC:3\r\nD:4\r\n\r\nKv-TTL:1", "A:1\r\nB:2\r\nC:3\r\nD:4\r\nE:5\r\nF:6\r\nG:7\r\n\r\nKv-If-Rev:7",
			"A:1\nB:2\n\nKv-TTL:1", strings.Repeat("X-Other: y\r\n", 40) + "X-More: y\n\r\nKv-TTL: 1"} {
			k.sendRaw(subject, r.prefix+".1", lines)
			if _, a := k.next(r); a.code != CodeBadRequest || !strings.Contains(a.text, "headers cannot be read") {
				t.Errorf("%s with %q: %+v", subject, lines, a)
			}
		}
	}
	if len(k.backend.writes()) != 0 {
		t.Error("one was carried out")
	}
	for name, text := range map[string]string{"service": k.log.String(), "replica": log.String()} {
		if n := strings.Count(text, "cannot receive"); n != 1 {
			t.Errorf("the %s has logged %d lines, want 1:\n%s", name, n, text)
		}
	}
}

// TestNoHeadersAreNotBroken: a request without headers is one without conditions, and so is
// one with an empty block of them.
func TestNoHeadersAreNotBroken(t *testing.T) {
	k := startKV(t, newMapBackend())
	r := k.inbox(4)
	if err := k.client.PublishRequest("kv.put.a", r.prefix+".1", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if _, a := k.next(r); a.code != 0 {
		t.Errorf("without headers: %+v", a)
	}
	for _, lines := range []string{"X-Other: y", "X-Other:y", "X-Other:\ty \r\nX-Other:    z", "X-Other: y\nX-More:z", "X-Other:"} {
		k.sendRaw("kv.get.a", r.prefix+".2", lines)
		if _, a := k.next(r); a.code != 0 || a.value != "v" {
			t.Errorf("with %q: %+v", lines, a)
		}
	}
}

// TestUnknownRequestIsBroken: where it cannot be told whether there were headers, they count
// as broken, and nothing panics: if package micro came to keep its message elsewhere.
func TestUnknownRequestIsBroken(t *testing.T) {
	type bare struct{ micro.Request }
	type elsewhere struct {
		micro.Request
		msg []byte
	}
	none := headless{}
	for _, req := range []micro.Request{none, bare{none}, &bare{none}, &elsewhere{none, nil}} {
		if !brokenHeaders(req) {
			t.Errorf("%T: its headers count as read", req)
		}
	}
	if brokenHeaders(headless{h: micro.Headers{"X-Other": {"y"}}}) {
		t.Error("headers that were read count as broken")
	}
}

// headless is a request of which only the headers are looked at.
type headless struct {
	micro.Request
	h micro.Headers
}

func (r headless) Headers() micro.Headers { return r.h }
