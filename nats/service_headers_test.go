package nats

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestServiceTTL: a put says how long its key lives, in any of the usual ways, and a
// get how long it lives still.
func TestServiceTTL(t *testing.T) {
	k := startKV(t, newMapBackend())
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "30": 30 * time.Second, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "87600h": 87600 * time.Hour,
	} {
		for _, name := range []string{HeaderTTL, "kv-ttl"} {
			if got := k.request("kv.put.a", "v", nats.Header{name: {text}}); got.code != 0 {
				t.Fatalf("%s: %+v", text, got)
			}
			if e, _ := k.backend.Get("a"); e.TTL != want {
				t.Errorf("%s: %v, want %v", text, e.TTL, want)
			}
			m, err := k.client.RequestWithContext(k.ctx, "kv.get.a", nil)
			if err != nil || m.Header.Get(HeaderTTL) != want.String() {
				t.Errorf("%s: the reply to a get has %v, %v", text, m.Header, err)
			}
		}
	}
	if got := k.request("kv.batch", `[{"op":"put","key":"a","value":""},{"op":"put","key":"b","value":"","ttl":"5m"}]`, nil); got.code != 0 {
		t.Fatalf("a batch: %+v", got)
	}
	for key, want := range map[string]string{"a": "", "b": "5m0s"} {
		m, err := k.client.RequestWithContext(k.ctx, "kv.get."+key, nil)
		if err != nil || m.Header.Get(HeaderTTL) != want {
			t.Errorf("%s: %v, %v; want %q", key, m.Header, err, want)
		}
	}
	k.backend.mu.Lock()
	k.backend.entries["due"] = Entry{TTL: 1}
	k.backend.mu.Unlock()
	if m, err := k.client.RequestWithContext(k.ctx, "kv.get.due", nil); err != nil || m.Header.Get(HeaderTTL) != "1ms" {
		t.Errorf("a key that is about to go: %v, %v", m, err)
	}

	before := k.backend.writes()
	for _, text := range []string{"", "0", "0s", "-1s", "1 h", "forever", "5000000000", "1e3", "9223372036854775808ns"} {
		got := k.request("kv.put.a", "v", nats.Header{HeaderTTL: {text}})
		if got.code != CodeBadRequest || !strings.Contains(got.text, HeaderTTL) || !strings.Contains(got.text, "30s") {
			t.Errorf("%q: %+v", text, got)
		}
		got = k.request("kv.batch", `[{"op":"put","key":"a","value":"","ttl":"`+text+`"}]`, nil)
		if got.code != CodeBadRequest || !strings.Contains(got.text, "ttl") || !strings.Contains(got.text, "30s") {
			t.Errorf("%q in a batch: %+v", text, got)
		}
	}
	for what, got := range map[string]answer{
		"two of a put":      k.request("kv.put.a", "", nats.Header{HeaderTTL: {"1s", "1s"}}),
		"of a delete":       k.request("kv.delete.a", "", nats.Header{HeaderTTL: {"1s"}}),
		"of a get":          k.request("kv.get.a", "", nats.Header{HeaderTTL: {"1s"}}),
		"of a batch":        k.request("kv.batch", "[]", nats.Header{HeaderTTL: {"1s"}}),
		"of a delete in it": k.request("kv.batch", `[{"op":"delete","key":"a","ttl":"1s"}]`, nil),
	} {
		if got.code != CodeBadRequest {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if after := k.backend.writes(); !slices.Equal(before, after) {
		t.Errorf("proposed: %q", after[len(before):])
	}
}

// TestServiceRequestID: the backend learns which request it is.
func TestServiceRequestID(t *testing.T) {
	k := startKV(t, newMapBackend())
	k.request("kv.put.a", "v", nats.Header{HeaderRequestID: {"one"}})
	k.request("kv.batch", `[{"op":"put","key":"a","value":""}]`, nats.Header{"kv-request-id": {"two"}})
	k.request("kv.delete.a", "", nats.Header{HeaderRequestID: {"three"}, HeaderIfRev: {"2"}})
	k.request("kv.put.a", "v", nil)
	want := []string{"one", "two", "three", ""}
	for what, header := range map[string]nats.Header{"empty": {HeaderRequestID: {""}}, "two": {HeaderRequestID: {"a", "b"}}} {
		for _, subject := range []string{"kv.put.a", "kv.delete.a", "kv.batch", "kv.get.a"} {
			if got := k.request(subject, "[]", header); got.code != CodeBadRequest || !strings.Contains(got.text, HeaderRequestID) {
				t.Errorf("%s, %s: %+v", subject, what, got)
			}
		}
	}
	k.backend.mu.Lock()
	defer k.backend.mu.Unlock()
	if !slices.Equal(k.backend.requests, want) {
		t.Errorf("request ids are %q, want %q", k.backend.requests, want)
	}
}
