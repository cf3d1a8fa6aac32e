package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

func TestServiceChecksOptions(t *testing.T) {
	k := startKV(t, newMapBackend())
	if _, err := StartService(nil, ServiceOptions{Conn: k.client, Version: "1.0.0"}); !errors.Is(err, fanout.ErrBadOption) {
		t.Errorf("no backend: error is %v, want ErrBadOption", err)
	}
	for name, o := range map[string]ServiceOptions{
		"no connection": {Version: "1.0.0"},
		"bad root":      {Conn: k.client, Version: "1.0.0", Subjects: Subjects{KV: ">"}},
	} {
		if _, err := StartService(k.backend, o); !errors.Is(err, fanout.ErrBadOption) {
			t.Errorf("%s: error is %v, want ErrBadOption", name, err)
		}
	}
	if _, err := StartService(k.backend, ServiceOptions{Conn: k.client, Version: "one"}); err == nil {
		t.Error("a version that is none was accepted")
	}
}

func TestServicePutGetDelete(t *testing.T) {
	k := startKV(t, newMapBackend())
	for i, step := range []struct {
		subject, value string
		want           answer
	}{
		{"kv.get.a", "", answer{code: CodeNotFound}},
		{"kv.put.a", "one", answer{revision: 1}},
		{"kv.get.a", "", answer{value: "one", revision: 1}},
		{"kv.put.a", "", answer{revision: 2}},
		{"kv.get.a", "", answer{value: "", revision: 2}},
		{"kv.put.a.%2Eb%20%FF", "exotic", answer{revision: 3}},
		{"kv.get.a.%2Eb%20%FF", "", answer{value: "exotic", revision: 3}},
		{"kv.delete.a", "", answer{revision: 4}},
		{"kv.get.a", "", answer{code: CodeNotFound}},
		{"kv.delete.a", "", answer{code: CodeNotFound}},
	} {
		got := k.request(step.subject, step.value, nil)
		got.text = ""
		if got != step.want {
			t.Fatalf("step %d, %s: got %+v, want %+v", i, step.subject, got, step.want)
		}
	}
	if e, err := k.backend.Get("a..b \xff"); string(e.Value) != "exotic" {
		t.Errorf("the backend has %+v, %v", e, err)
	}
}

func TestServiceIfRev(t *testing.T) {
	k := startKV(t, newMapBackend())
	for i, step := range []struct {
		op     string
		header nats.Header
		want   Code
	}{
		{"put", ifRev("1"), CodeConflict},
		{"put", ifRev("0"), 0}, // revision 1
		{"put", ifRev("0"), CodeConflict},
		{"put", ifRev("1"), 0}, // revision 2
		{"put", nats.Header{"kv-if-rev": {"1"}}, CodeConflict},
		{"put", nats.Header{"kv-if-rev": {"2"}}, 0}, // revision 3
		{"put", nats.Header{"KV-IF-REV": {"2"}}, CodeConflict},
		{"delete", ifRev("2"), CodeConflict},
		{"delete", ifRev("3"), 0},
		{"put", nats.Header{"Other": {"1"}, "Nats-Msg-Id": {"1"}, "Kv": {"1"}}, 0},
	} {
		if got := k.request("kv."+step.op+".a", "v", step.header); got.code != step.want {
			t.Fatalf("step %d, %s %v: got %+v, want %d", i, step.op, step.header, got, step.want)
		}
	}
	before, _ := k.backend.count()
	for _, header := range []nats.Header{
		ifRev(""), ifRev("x"), ifRev("-1"), ifRev("+1"), ifRev("1.0"), ifRev("0x1"), ifRev("18446744073709551616"),
		ifRev("5", "5"), ifRev("0", "5"), {HeaderIfRev: {"5"}, "kv-if-rev": {"5"}},
	} {
		for _, op := range []string{"put", "delete"} {
			got := k.request("kv."+op+".a", "v", header)
			if got.code != CodeBadRequest || !strings.Contains(got.text, HeaderIfRev) {
				t.Errorf("%s %v: got %+v, want 400 that names the header", op, header, got)
			}
		}
	}
	if after, _ := k.backend.count(); after != before {
		t.Errorf("of the bad requests %d were proposed", after-before)
	}
}

// A header that means something to another version must not be dropped, however
// it is spelled.
func TestServiceRefusesUnknownHeaders(t *testing.T) {
	k := startKV(t, newMapBackend())
	for _, name := range []string{"Kv-Min-Rev", "kv-request", "KV-LEASE", "Kv-", "kv-if-rev-2"} {
		for _, op := range []string{"put", "delete", "get"} {
			if got := k.request("kv."+op+".a", "v", nats.Header{name: {"0"}}); got.code != CodeBadRequest {
				t.Errorf("%s with header %q: got %+v, want 400", op, name, got)
			}
		}
	}
	// Not every client library minds what it sends.
	r := k.inbox(10)
	for _, name := range []string{"Kv-If-Rev ", " Kv-If-Rev", "\tkv-if-rev\t", "kv-if-r\u00e9v", "kv-\x00"} {
		k.sendRaw("kv.put.a", r.prefix+".0", name+": 0")
		if _, got := k.next(r); got.code != CodeBadRequest {
			t.Errorf("put with header %q: got %+v, want 400", name, got)
		}
	}
	if got := k.request("kv.get.a", "", ifRev("0")); got.code != CodeBadRequest {
		t.Errorf("a read with a condition: got %+v, want 400", got)
	}
	if writes, proofs := k.backend.count(); writes+proofs > 0 {
		t.Errorf("the backend was asked for %d writes and %d proofs", writes, proofs)
	}
}

func TestServiceRefusesBadKeys(t *testing.T) {
	k := startKV(t, newMapBackend())
	for _, op := range []string{"put", "delete", "get"} {
		for form, want := range map[string]Code{
			"":                                      CodeBadRequest,
			".a%2":                                  CodeBadRequest,
			".%zz":                                  CodeBadRequest,
			".%41":                                  CodeBadRequest,
			".%2e":                                  CodeBadRequest,
			".a%2Eb":                                CodeBadRequest, // the dot needs no escape there
			".\x01":                                 CodeBadRequest,
			".\xff":                                 CodeBadRequest,
			"." + strings.Repeat("k", 1024):         0,
			"." + strings.Repeat("k", 1025):         CodeTooLarge,
			"." + strings.Repeat("%FF", 1024):       0,
			"." + strings.Repeat("%FF", 1024) + "k": CodeTooLarge,
		} {
			if op != "put" && want == 0 {
				continue
			}
			got := k.request("kv."+op+form, "v", nil)
			if got.code != want {
				t.Errorf("%s %.20q: got %+v, want %d", op, form, got, want)
			}
		}
		if got := k.request("kv."+op, "v", nil); !strings.Contains(got.text, "kv."+op+".<key>") {
			t.Errorf("a missing key is answered with %q", got.text)
		}
	}
	if writes, _ := k.backend.count(); writes != 2 {
		t.Errorf("%d writes were proposed, want 2", writes)
	}
}

func TestServicePassesOnErrors(t *testing.T) {
	backend := newMapBackend()
	k := startKV(t, backend)
	for _, c := range []struct {
		err  error
		want answer
	}{
		{&Error{CodeBusy, "later"}, answer{code: CodeBusy, text: "later"}},
		{&Error{CodeUnknown, "read to know"}, answer{code: CodeUnknown, text: "read to know"}},
		{fmt.Errorf("around: %w", &Error{CodeUnavailable, "not here"}), answer{code: CodeUnavailable, text: "not here"}},
		{&Error{CodeConflict, "two\r\nlines: x"}, answer{code: CodeConflict, text: "two  lines: x"}},
		{errors.New("disk on fire"), answer{code: CodeInternal, text: "disk on fire"}},
		// No text at all would be no answer at all.
		{&Error{Code: CodeConflict}, answer{code: CodeConflict, text: "no more is known"}},
		{errors.New(""), answer{code: CodeInternal, text: "no more is known"}},
	} {
		backend.mu.Lock()
		backend.refuse = c.err
		backend.mu.Unlock()
		for _, op := range []string{"put", "delete", "get"} {
			if got := k.request("kv."+op+".a", "v", nil); got != c.want {
				t.Errorf("%s with %q: got %+v, want %+v", op, c.err, got, c.want)
			}
		}
	}
	if log := k.log.String(); strings.Count(log, "disk on fire") != 3 || strings.Contains(log, "later") {
		t.Errorf("internal errors, and only these, belong in the log, which is:\n%s", log)
	}
}

// A stored value may be more than this broker carries; who asks must hear so.
func TestServiceValueTooLargeForBroker(t *testing.T) {
	const limit = 4096
	backend := newMapBackend()
	backend.entries["big"] = Entry{Value: make([]byte, limit), Revision: 7}
	k := startKV(t, backend, func(o *server.Options) { o.MaxPayload = limit })
	if got := k.request("kv.get.big", "", nil); got.code != CodeTooLarge {
		t.Errorf("got %+v, want 413", got)
	}
}

func TestServiceIsAMicroService(t *testing.T) {
	k := startKV(t, newMapBackend())
	k.request("kv.put.a", "v", nil)
	k.request("kv.put.%zz", "v", nil)
	ask := func(verb string, v any) {
		t.Helper()
		for _, subject := range []string{"$SRV." + verb, "$SRV." + verb + ".watchcast"} {
			m, err := k.client.RequestWithContext(k.ctx, subject, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(m.Data, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	var ping micro.Ping
	ask("PING", &ping)
	if ping.Name != "watchcast" || ping.Version != "1.2.3" || ping.Metadata["node"] != "n1" {
		t.Errorf("ping says %+v", ping)
	}
	var info micro.Info
	ask("INFO", &info)
	var endpoints []string
	for _, e := range info.Endpoints {
		if e.QueueGroup != "" {
			t.Errorf("endpoint %s stands in queue group %q", e.Name, e.QueueGroup)
		}
		endpoints = append(endpoints, e.Name+" "+e.Subject)
	}
	if want := []string{"batch kv.batch", "put kv.put.>", "delete kv.delete.>", "get kv.get.>", "list kv.list", "list-within kv.list.>", "since kv.since", "since-within kv.since.>"}; !slices.Equal(endpoints, want) {
		t.Errorf("the endpoints are %q, want %q", endpoints, want)
	}
	eventually(t, k.ctx, "the statistics count both requests and the error", func() bool {
		var stats micro.Stats
		ask("STATS", &stats)
		put := stats.Endpoints[1]
		return put.NumRequests == 2 && put.NumErrors == 1 && strings.HasPrefix(put.LastError, "400:")
	})
	k.service.Stop()
	eventually(t, k.ctx, "it is gone", func() bool {
		ctx, cancel := context.WithCancel(k.ctx)
		defer cancel()
		_, err := k.client.RequestWithContext(ctx, "$SRV.PING.watchcast", nil)
		return errors.Is(err, nats.ErrNoResponders)
	})
}

// Whatever arrives, there is one well-formed answer, and it is not the service's
// own fault.
func FuzzService(f *testing.F) {
	k := startKV(f, newMapBackend())
	f.Add("put", "a", "Kv-If-Rev", "0", []byte("v"))
	f.Add("get", "a%20b", "kv-ttl", "", []byte(nil))
	f.Add("delete", "%", "Kv-If-Rev", "99999999999999999999", []byte(nil))
	f.Add("put", "a..b", "x", "y", []byte("v"))
	f.Add("put", "*", "Kv-If-Rev", "\xff", []byte("v"))
	f.Add("get", ">", ":", ":", []byte("v"))
	f.Fuzz(func(t *testing.T, op, form, name, value string, data []byte) {
		if len(form) > 3500 || len(op) > 100 || len(name)+len(value)+len(data) > 1<<19 {
			return // more than the broker takes
		}
		ctx := testContext(t) // that of k would bound the whole fuzzing
		m, err := k.client.RequestMsgWithContext(ctx, &nats.Msg{Subject: "kv." + op + "." + form, Header: nats.Header{name: {value}}, Data: data})
		if errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrBadHeaderMsg) || errors.Is(err, nats.ErrNoResponders) {
			return // not what the client library sends, or not what anybody answers
		}
		if err != nil {
			t.Fatal(err)
		}
		if a, err := readAnswer(m); err != nil || a.code == CodeInternal {
			t.Fatalf("got %+v, %v", a, err)
		}
	})
}
