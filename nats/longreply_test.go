package nats

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestLongReplySubject: who asks chooses where the answer goes. A line that is too long for
// the broker would end the connection of who answers, for good; so nothing is done of a
// request whose answer could be that, one line is logged, and all others are answered.
func TestLongReplySubject(t *testing.T) {
	backend, state := newMapBackend(), newReplicaBackend()
	k := startKV(t, backend)
	conn := dial(t, "", nats.InProcessServer(k.broker))
	var log lockedBuffer
	replica, err := StartReplica(state, ServiceOptions{Conn: conn, Version: "1.2.3", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(replica.Stop)
	backend.fill(100, 4<<10) // of several chunks, which name a subject of their own
	state.fill(100, 4<<10)
	writes := len(backend.writes())
	for _, subject := range []string{
		"kv.put", "kv.put.a", "kv.delete.k.000001", "kv.get.a", "kv.batch", "kv.list", "kv.list.k", "kv.since",
		"kv.stale.get", "kv.stale.get.a", "kv.stale.list", "kv.stale.since",
	} {
		longest := 4096 - len(subject+"  0") // that a stock broker takes
		for _, length := range []int{longest, maxReplyBytes + 1} {
			if err := k.client.PublishMsg(&nats.Msg{Subject: subject, Reply: strings.Repeat("r", length)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for op, entries := range map[string]int{"list": 100, "stale.list": 101} {
		listed := k.ask("kv."+op, "", nil)
		if failure := listed.all(); failure != nil || len(listed.changes) != entries {
			t.Errorf("behind these kv.%s gives %d entries, %v", op, len(listed.changes), failure)
		}
	}
	sub, err := k.client.SubscribeSync(strings.Repeat("r", maxReplyBytes))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.client.PublishRequest("kv.list", sub.Subject, nil); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsgWithContext(k.ctx); err != nil || m.Reply == "" {
		t.Errorf("a reply subject of %d bytes gets %v, %v", maxReplyBytes, m, err)
	}
	if n := len(backend.writes()); n != writes {
		t.Errorf("%d writes were carried out whose answer goes nowhere", n-writes)
	}
	for name, text := range map[string]string{"service": k.log.String(), "replica": log.String()} {
		if n := strings.Count(text, "reply subject"); n != 1 {
			t.Errorf("the %s has logged %d lines, want 1:\n%s", name, n, text)
		}
	}
}
