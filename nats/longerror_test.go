package nats

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// TestLongInputIsAnswered: what is wrong with a request is said whatever it holds, in a line
// that fits the broker, though what is quoted takes up to four times as much there.
func TestLongInputIsAnswered(t *testing.T) {
	k := startKV(t, newMapBackend(), func(o *server.Options) { o.MaxPayload = 4096 })
	replica, err := StartReplica(newReplicaBackend(), ServiceOptions{Conn: dial(t, "", nats.InProcessServer(k.broker)), Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(replica.Stop)
	long, name := strings.Repeat("\x01", 3000), strings.Repeat("x", 3900)
	for what, c := range map[string]struct {
		subject, payload string
		header           nats.Header
		says             []string // the beginning and the end
	}{
		"a header's value":     {"kv.put.a", "v", nats.Header{HeaderTTL: {long}}, []string{`header Kv-TTL is "\x01`, "or a number of seconds"}},
		"a header's name":      {"kv.put.a", "v", nats.Header{"Kv-" + name: {""}}, []string{`header "Kv-xxx`, "leave it out"}},
		"one of a list":        {"kv.list", ">", nats.Header{"Kv-" + name: {""}}, []string{`header "Kv-xxx`, "leave it out"}},
		"one of a stale get":   {"kv.stale.get.a", "", nats.Header{HeaderMinRev: {long}}, []string{`header Kv-Min-Rev is "\x01`, "say"}},
		"an unknown field":     {"kv.batch", `[{"` + name + `":1}]`, nil, []string{"the batch is not understood", "give " + batchExample}},
		"one of long letters":  {"kv.batch", `[{"` + strings.Repeat("é€", 750) + `":1}]`, nil, []string{"the batch is not understood", "give " + batchExample}},
		"a key that is none":   {"kv.put." + strings.Repeat("%41", 500), "v", nil, []string{"bad key", `AAA"`}},
		"a pattern that is no": {"kv.list", "a*" + name[:3000], nil, []string{"bad pattern", "for the character itself"}},
	} {
		got := k.request(c.subject, c.payload, c.header)
		if got.code != CodeBadRequest || !strings.HasPrefix(got.text, c.says[0]) || !strings.HasSuffix(got.text, c.says[1]) ||
			!strings.Contains(got.text, " … ") || len(got.text) > maxDescription || !utf8.ValidString(got.text) {
			t.Errorf("%s: got %+v", what, got)
		}
	}
}
