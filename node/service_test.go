package node

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
)

// TestService is the wire protocol from a client's side.
func TestService(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.MaxPayload = 64 << 10
	n := lead(t, config)
	conn := connect(t, n.NATSURL())
	ask := func(subject, value string, headers ...string) (*natsgo.Msg, string) {
		t.Helper()
		m := natsgo.NewMsg(subject)
		m.Data = []byte(value)
		for i := 0; i < len(headers); i += 2 {
			m.Header.Set(headers[i], headers[i+1])
		}
		reply, err := conn.RequestMsgWithContext(bounded(t), m)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		return reply, reply.Header.Get("Nats-Service-Error-Code")
	}
	ok := func(reply *natsgo.Msg, code string) uint64 {
		t.Helper()
		revision, err := revisionOf(reply)
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	first := ok(ask("kv.put.k", "one", "Kv-If-Rev", "0"))
	second := ok(ask("kv.put.k", "two", "Kv-If-Rev", fmt.Sprint(first)))
	if reply, _ := ask("kv.get.k", ""); string(reply.Data) != "two" || ok(reply, "") != second {
		t.Fatalf("get: %q %v", reply.Data, reply.Header)
	}
	for _, c := range []struct {
		subject, value, code, mentions string
		headers                        []string
	}{
		{"kv.put.k", "x", "409", fmt.Sprint(second), []string{"Kv-If-Rev", fmt.Sprint(first)}},
		{"kv.put.k", "x", "409", fmt.Sprint(second), []string{"kv-if-rev", "0"}},
		{"kv.delete.k", "", "409", fmt.Sprint(second), []string{"Kv-If-Rev", "1"}},
		{"kv.put.k", "x", "400", "Kv-If-Rev", []string{"Kv-If-Rev", "new"}},
		{"kv.put.k", "x", "400", "Kv-If-Rev", []string{"Kv-If-Rev", "-1"}},
		{"kv.put.k", "x", "400", "Kv-TTL", []string{"Kv-Ttl", "soon"}},
		{"kv.delete.k", "", "400", "Kv-Ttl", []string{"Kv-Ttl", "1s"}},
		{"kv.get.k", "", "400", "Kv-If-Rev", []string{"Kv-If-Rev", "1"}},
		{"kv.get.absent", "", "404", `"absent"`, nil},
		{"kv.delete.absent", "", "404", `"absent"`, nil},
		{"kv.put", "", "400", "kv.put.<key>", nil},
		{"kv.put.k", strings.Repeat("x", config.MaxPayload-valueHeadroom+1), "413", "limit", nil},
	} {
		reply, code := ask(c.subject, c.value, c.headers...)
		if text := reply.Header.Get("Nats-Service-Error"); code != c.code || !strings.Contains(text, c.mentions) || len(reply.Data) > 0 {
			t.Errorf("%s %v: %s %q %q; want %s with %q", c.subject, c.headers, code, text, reply.Data, c.code, c.mentions)
		}
	}
	wantValue(t, n, "k", "two", second)
	gone := ok(ask("kv.delete.k", "", "Kv-If-Rev", fmt.Sprint(second)))
	if gone <= second {
		t.Errorf("the delete has revision %d; the put had %d", gone, second)
	}
	if _, code := ask("kv.get.k", ""); code != "404" {
		t.Errorf("get of a deleted key: code %q; want 404", code)
	}

	var info struct {
		Name      string
		Metadata  map[string]string
		Endpoints []struct{ Name, Subject, QueueGroup string }
	}
	reply, _ := ask("$SRV.INFO.watchcast", "")
	if err := json.Unmarshal(reply.Data, &info); err != nil {
		t.Fatal(err)
	}
	if len(info.Endpoints) != 8 || info.Metadata["node"] != DefaultID || info.Metadata["cluster"] == "" {
		t.Errorf("the service shows itself as %s", reply.Data)
	}
}

// TestPipelinedRequests sends without waiting for replies: writes take effect
// in the order in which they were sent.
func TestPipelinedRequests(t *testing.T) {
	t.Parallel()
	const requests = 1000
	n := lead(t, single(t))
	published := subscribe(t, connect(t, n.NATSURL()), ">")
	conn := connect(t, n.NATSURL())
	inbox := conn.NewInbox()
	replies, err := conn.SubscribeSync(inbox + ".*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range requests {
		if err := conn.PublishRequest("kv.put.k", fmt.Sprintf("%s.%d", inbox, i), []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	var last uint64
	for i := range requests {
		m, err := replies.NextMsgWithContext(bounded(t))
		if err != nil {
			t.Fatalf("reply %d: %v", i, err)
		}
		revision, err := revisionOf(m)
		if want := fmt.Sprintf("%s.%d", inbox, i); m.Subject != want || err != nil || revision <= last {
			t.Fatalf("reply %d is %d on %s, %v, after %d", i, revision, m.Subject, err, last)
		}
		last = revision
	}
	for i, e := range published.seen(last) {
		if string(e.Value) != fmt.Sprint(i) {
			t.Fatalf("event %d is of request %s", i, e.Value)
		}
	}
	published.noResets()
}

// TestEventMessage holds what plain clients see of a change.
func TestEventMessage(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	conn := connect(t, n.NATSURL())
	sub, err := conn.SubscribeSync("watch.k")
	if err != nil {
		t.Fatal(err)
	}
	first, err := revisionOf(request(t, conn, "kv.put.k", []byte("\xff\x00")))
	if err != nil {
		t.Fatal(err)
	}
	second, err := revisionOf(request(t, conn, "kv.delete.k", nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ op, data, rev, prev string }{
		{"put", "\xff\x00", fmt.Sprint(first), "0"},
		{"delete", "", fmt.Sprint(second), fmt.Sprint(first)},
	} {
		m, err := sub.NextMsgWithContext(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		h := m.Header
		if string(m.Data) != want.data || h.Get("Watch-Op") != want.op || h.Get("Watch-Rev") != want.rev || h.Get("Watch-Prev") != want.prev || !strings.HasSuffix(h.Get("Watch-Time"), "Z") || len(h) != 5 {
			t.Errorf("received %q %v; want %+v", m.Data, h, want)
		}
	}
}
