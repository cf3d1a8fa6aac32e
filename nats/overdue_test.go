package nats

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestWatchWithoutAnswerSaysSo: where the leader is heard, and does not answer, the watch is
// stale long before the client gives the request up, until an answer comes. A raw one, which
// gives nothing of what it missed, does not say up to where it would be fresh.
func TestWatchWithoutAnswerSaysSo(t *testing.T) {
	t.Run("healing", func(t *testing.T) { watchWithoutAnswer(t, WatchOptions{}, 7) })
	t.Run("raw", func(t *testing.T) { watchWithoutAnswer(t, WatchOptions{Raw: true}, 0) })
}

func watchWithoutAnswer(t *testing.T, o WatchOptions, fresh uint64) {
	t.Helper()
	l := startHeardLeader(t, 0)
	conn := dial(t, l.broker.ClientURL())
	var speaks atomic.Bool
	if _, err := conn.Subscribe("silent.*", func(m *nats.Msg) {
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
	if l.w, err = l.c.Watch(l.ctx, ">", o); err != nil {
		t.Fatal(err)
	}
	if u := l.next(); u.Kind != Stale || !strings.Contains(u.Cause, `no answer to requests under "silent"`) {
		t.Fatalf("without an answer comes %+v", u)
	}
	speaks.Store(true)
	for _, want := range []Update{{Kind: Synced, Revision: 7}, {Kind: Fresh, Revision: fresh}} {
		if u := l.next(); u != want {
			t.Errorf("with one comes %+v; want %+v", u, want)
		}
	}
}
