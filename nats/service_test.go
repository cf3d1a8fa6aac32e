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
	for name, o := range map[string]ServiceOptions{
		"no connection": {Backend: k.backend, Version: "1.0.0"},
		"no backend":    {Conn: k.client, Version: "1.0.0"},
		"bad root":      {Conn: k.client, Backend: k.backend, Version: "1.0.0", Subjects: Subjects{KV: ">"}},
	} {
		if _, err := StartService(o); !errors.Is(err, fanout.ErrBadOption) {
			t.Errorf("%s: error is %v, want ErrBadOption", name, err)
		}
	}
	if _, err := StartService(ServiceOptions{Conn: k.client, Backend: k.backend, Version: "one"}); err == nil {
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
	if value, _, err := k.backend.Get("a..b \xff"); string(value) != "exotic" {
		t.Errorf("the backend has %q, %v", value, err)
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
	for _, name := range []string{"Kv-Ttl", "kv-ttl", "KV-TTL", "Kv-Request-Id", "Kv-", "kv-if-rev-2"} {
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
	backend.entries["big"] = mapEntry{make([]byte, limit), 7}
	k := startKV(t, backend, func(o *server.Options) { o.MaxPayload = limit })
	if got := k.request("kv.get.big", "", nil); got.code != CodeTooLarge {
		t.Errorf("got %+v, want 413", got)
	}
}

// What one client sends to one endpoint keeps its order, all the way and back.
func TestServiceKeepsOrder(t *testing.T) {
	const n = 1000
	k := startKV(t, newMapBackend())
	r := k.inbox(n)
	for i := range n {
		k.send(r, i, fmt.Sprintf("kv.put.k%d", i), "v")
	}
	for want := range n {
		i, got := k.next(r)
		if i != want || got.revision != uint64(want+1) {
			t.Fatalf("reply %d is for request %d and says %+v", want, i, got)
		}
	}
	for i, call := range k.backend.writes() {
		if want := fmt.Sprintf("put k%d", i); call != want {
			t.Fatalf("write %d is %q, want %q", i, call, want)
		}
	}
}

// While the backend hangs, so many writes wait and the others hear at once that
// it is busy; nothing of these was proposed.
func TestServiceBoundsWrites(t *testing.T) {
	const sent = MaxWrites + 500
	backend := newMapBackend()
	backend.applied = make(chan struct{})
	k := startKV(t, backend)
	r := k.inbox(sent)
	for i := range sent {
		k.send(r, i, "kv.put.a", "v")
	}
	busy := 0
	refused := func() {
		t.Helper()
		if i, got := k.next(r); got.code != CodeBusy || i < MaxWrites-1 {
			t.Fatalf("the backend hangs, and request %d gets %+v", i, got)
		}
		busy++
	}
	for range sent - MaxWrites {
		refused()
	}
	if got := k.request("kv.get.none", "", nil); got.code != CodeNotFound {
		t.Errorf("a read waits for writes: %+v", got)
	}
	k.send(r, sent, "kv.delete.a", "")
	refused()
	close(backend.applied)
	done := 0
	for done+busy < sent+1 {
		if _, got := k.next(r); got.code == CodeBusy {
			busy++
		} else if done++; got.revision != uint64(done) {
			t.Fatalf("write %d is answered with %+v", done, got)
		}
	}
	if writes, _ := backend.count(); writes != done || done < MaxWrites-1 {
		t.Errorf("%d writes were proposed and %d done, want %d", writes, done, MaxWrites)
	}
}

// All reads that come during a proof share the next one; none is answered by a
// proof that began before it came.
func TestServiceSharesProofs(t *testing.T) {
	const sharing = 50
	backend := newMapBackend()
	backend.proof = make(chan error)
	backend.entered = make(chan struct{}, 10)
	backend.entries["a"] = mapEntry{[]byte("old"), 1}
	k := startKV(t, backend)
	r := k.inbox(sharing + 1)

	k.send(r, 0, "kv.get.a", "")
	receive(t, k.ctx, "the first proof begins", backend.entered)
	for i := range sharing {
		k.send(r, i+1, "kv.get.a", "")
	}
	eventually(t, k.ctx, "the others wait", func() bool { return len(k.service.reads) == sharing })
	backend.proof <- nil
	if i, got := k.next(r); i != 0 || got.value != "old" {
		t.Fatalf("request %d is answered by the first proof with %+v", i, got)
	}
	receive(t, k.ctx, "the second proof begins", backend.entered)
	flush(t, k.ctx, k.client)
	if len(r.messages) > 0 {
		t.Fatal("a read was answered by a proof that began before it came")
	}
	backend.mu.Lock()
	backend.entries["a"] = mapEntry{[]byte("new"), 2}
	backend.mu.Unlock()
	backend.proof <- nil
	for want := 1; want <= sharing; want++ {
		if i, got := k.next(r); i != want || got.value != "new" {
			t.Fatalf("reply %d is for request %d and says %+v", want, i, got)
		}
	}
	if _, proofs := backend.count(); proofs != 2 {
		t.Errorf("there were %d proofs, want 2", proofs)
	}

	k.send(r, 0, "kv.get.a", "")
	backend.proof <- &Error{CodeUnavailable, "another node leads"}
	if _, got := k.next(r); got.code != CodeUnavailable {
		t.Errorf("without a proof a read is answered with %+v", got)
	}
}

func TestServiceBoundsReads(t *testing.T) {
	const extra = 100
	backend := newMapBackend()
	backend.proof = make(chan error)
	backend.entered = make(chan struct{}, 10)
	k := startKV(t, backend)
	r := k.inbox(1 + MaxReads + extra)
	k.send(r, 0, "kv.get.a", "")
	receive(t, k.ctx, "the proof begins", backend.entered)
	for i := range MaxReads + extra {
		k.send(r, 1+i, "kv.get.a", "")
	}
	for range extra {
		if i, got := k.next(r); got.code != CodeBusy || i <= MaxReads {
			t.Fatalf("the proof hangs, and request %d gets %+v", i, got)
		}
	}
	backend.proof <- nil
	backend.proof <- nil
	for range 1 + MaxReads {
		if i, got := k.next(r); got.code != CodeNotFound {
			t.Fatalf("request %d gets %+v", i, got)
		}
	}
}

// Who sends no reply subject wants none.
func TestServiceWithoutReply(t *testing.T) {
	k := startKV(t, newMapBackend())
	for _, subject := range []string{"kv.put.a", "kv.put", "kv.get", "kv.delete", "kv.get.a", "kv.get.none", "kv.delete.none", "kv.put.%zz"} {
		if err := k.client.PublishMsg(&nats.Msg{Subject: subject, Data: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		if err := k.client.PublishMsg(&nats.Msg{Subject: subject, Header: ifRev("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, op := range []string{"put", "delete", "get"} { // each behind the others of its endpoint
		k.request("kv."+op+".b", "v", nil)
	}
	if got := k.request("kv.get.a", "", nil); got.value != "v" {
		t.Errorf("the write without a reply subject was not made: %+v", got)
	}
}

// Stop answers what was taken: writes when the backend does.
func TestServiceStopAnswersWrites(t *testing.T) {
	const n = 10
	backend := newMapBackend()
	backend.applied = make(chan struct{})
	k := startKV(t, backend)
	r := k.inbox(n)
	for i := range n {
		k.send(r, i, "kv.put.a", "v")
	}
	eventually(t, k.ctx, "all were proposed", func() bool { writes, _ := backend.count(); return writes == n })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		k.service.Stop()
	}()
	eventually(t, k.ctx, "clients hear that nobody is there", func() bool {
		_, err := k.client.RequestWithContext(k.ctx, "kv.get.a", nil)
		return errors.Is(err, nats.ErrNoResponders)
	})
	select {
	case <-stopped:
		t.Fatal("Stop returned before what was taken was answered")
	default:
	}
	close(backend.applied)
	for want := range n {
		if i, got := k.next(r); i != want || got.revision != uint64(want+1) {
			t.Fatalf("reply %d is for request %d and says %+v", want, i, got)
		}
	}
	receive(t, k.ctx, "Stop returns", stopped)
	wantNoGoroutineIn(t, k.ctx, "nats.(*Service)")
}

// Reads that wait for a proof when the service stops are told to go elsewhere.
func TestServiceStopAnswersReads(t *testing.T) {
	const n = 10
	backend := newMapBackend()
	backend.proof = make(chan error)
	backend.entered = make(chan struct{}, n)
	k := startKV(t, backend)
	r := k.inbox(n)
	k.send(r, 0, "kv.get.a", "")
	receive(t, k.ctx, "the proof begins", backend.entered)
	for i := 1; i < n; i++ {
		k.send(r, i, "kv.get.a", "")
	}
	eventually(t, k.ctx, "the others wait", func() bool { return len(k.service.reads) == n-1 })
	k.service.Stop()
	for want := range n {
		if i, got := k.next(r); i != want || got.code != CodeUnavailable {
			t.Fatalf("reply %d is for request %d and says %+v, want 503", want, i, got)
		}
	}
	if log := k.log.String(); strings.Contains(log, "request failed") {
		t.Errorf("a stop is logged as a failure:\n%s", log)
	}
	wantNoGoroutineIn(t, k.ctx, "nats.(*Service)")
}

// What lies in the subscription when the service stops comes too late: nothing
// of it is proposed, and it is answered.
func TestServiceStopTurnsAwayTheRest(t *testing.T) {
	const n = 1000
	backend := newMapBackend()
	backend.propose = make(chan struct{})
	k := startKV(t, backend)
	r := k.inbox(n)
	for i := range n {
		k.send(r, i, "kv.put.a", "v")
	}
	flush(t, k.ctx, k.client)
	flush(t, k.ctx, k.service.o.Conn) // all have arrived, and
	backend.propose <- struct{}{}     // one was proposed, and
	if i, got := k.next(r); i != 0 || got.revision != 1 {
		t.Fatalf("request %d gets %+v", i, got)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		k.service.Stop()
	}()
	eventually(t, k.ctx, "the service is stopping", func() bool { return k.service.micro.Stopped() })
	close(backend.propose)
	receive(t, k.ctx, "Stop returns", stopped)
	proposed, _ := backend.count()
	answered := make(map[int]bool)
	for range n - 1 {
		i, got := k.next(r)
		if answered[i] || (got.code != CodeUnavailable) != (i < proposed) {
			t.Fatalf("%d were proposed; request %d gets %+v", proposed, i, got)
		}
		answered[i] = true
	}
	if after, _ := backend.count(); after != proposed {
		t.Errorf("%d writes were proposed when Stop returned, and %d in the end", proposed, after)
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
	if want := []string{"put kv.put.>", "delete kv.delete.>", "get kv.get.>"}; !slices.Equal(endpoints, want) {
		t.Errorf("the endpoints are %q, want %q", endpoints, want)
	}
	eventually(t, k.ctx, "the statistics count both requests and the error", func() bool {
		var stats micro.Stats
		ask("STATS", &stats)
		put := stats.Endpoints[0]
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
