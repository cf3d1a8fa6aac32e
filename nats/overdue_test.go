package nats

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestWatchWithoutAnswerSaysSo: where the leader is heard, and does not answer, the watch is
// stale long before the client gives the request up, until an answer comes.
func TestWatchWithoutAnswerSaysSo(t *testing.T) {
	l := startHeardLeader(t, 0)
	conn := dial(t, l.broker.ClientURL())
	var speaks atomic.Bool
	if _, err := conn.Subscribe("silent.list", func(m *nats.Msg) {
		if speaks.Load() {
			m.RespondMsg(&nats.Msg{Header: nats.Header{HeaderRev: {"7"}, HeaderChunk: {"1"}, HeaderLast: {"true"}}})
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.c, err = NewClient(ClientOptions{
		Conn: dial(t, l.broker.ClientURL(), ClientConn()...), Subjects: Subjects{KV: "silent"}, Timeout: maxRetry,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.c.Close)
	l.beacon()
	l.watch()
	if u := l.next(); u.Kind != Stale || !strings.Contains(u.Cause, "no answer") {
		t.Fatalf("without an answer comes %+v", u)
	}
	speaks.Store(true)
	for _, kind := range []UpdateKind{Synced, Fresh} {
		if u := l.next(); u.Kind != kind || u.Revision != 7 {
			t.Errorf("with one comes %+v; want %v", u, kind)
		}
	}
}
