package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// replicaBackend is a state whose revision a test sets.
type replicaBackend struct {
	*mapBackend
	mu      sync.Mutex
	applied uint64
	changed chan struct{}
	waiting chan struct{} // gets a value for each Await that has to wait
}

func newReplicaBackend() *replicaBackend {
	b := &replicaBackend{mapBackend: newMapBackend(), changed: make(chan struct{}), waiting: make(chan struct{}, 2*MaxAwaiting)}
	b.entries["k"] = Entry{Value: []byte("v"), Revision: 1}
	return b
}

func (b *replicaBackend) reach(revision uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.applied = revision
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *replicaBackend) Revision() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.applied
}

func (b *replicaBackend) Stands() (uint64, error) { return b.Revision(), nil }

func (b *replicaBackend) Await(ctx context.Context, revision uint64) error {
	for first := true; ; first = false {
		b.mu.Lock()
		applied, changed := b.applied, b.changed
		b.mu.Unlock()
		if applied >= revision {
			return nil
		}
		if first {
			b.waiting <- struct{}{}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func startReplicaOn(t *testing.T, broker *server.Server, b ReplicaBackend) *Replica {
	t.Helper()
	r, err := StartReplica(b, ServiceOptions{Conn: dial(t, "", nats.InProcessServer(broker)), Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

func TestReplicaChecksOptions(t *testing.T) {
	broker, _ := startBroker(t)
	conn := dial(t, broker.ClientURL())
	if _, err := StartReplica(nil, ServiceOptions{Conn: conn, Version: "1.0.0"}); !errors.Is(err, fanout.ErrBadOption) {
		t.Errorf("no backend: error is %v, want ErrBadOption", err)
	}
	for name, o := range map[string]ServiceOptions{
		"no connection": {Version: "1.0.0"},
		"bad root":      {Conn: conn, Version: "1.0.0", Subjects: Subjects{KV: ">"}},
	} {
		if _, err := StartReplica(newReplicaBackend(), o); !errors.Is(err, fanout.ErrBadOption) {
			t.Errorf("%s: error is %v, want ErrBadOption", name, err)
		}
	}
	if _, err := StartReplica(newReplicaBackend(), ServiceOptions{Conn: conn, Version: "one"}); err == nil {
		t.Error("a version that is none was accepted")
	}
}

func TestReplicaReads(t *testing.T) {
	k := startKV(t, newMapBackend())
	b := newReplicaBackend()
	b.reach(5)
	startReplicaOn(t, k.broker, b)
	min := func(values ...string) nats.Header { return nats.Header{HeaderMinRev: values} }
	for _, c := range []struct {
		subject string
		header  nats.Header
		want    answer
		says    string
	}{
		{"kv.stale.get.k", nil, answer{value: "v", revision: 1}, ""},
		{"kv.stale.get.k", min("5"), answer{value: "v", revision: 1}, ""},
		{"kv.stale.get.k", nats.Header{"kv-min-rev": {"0"}}, answer{value: "v", revision: 1}, ""},
		{"kv.stale.get.missing", nil, answer{code: CodeNotFound}, ""},
		{"kv.stale.get", nil, answer{code: CodeBadRequest}, "kv.stale.get.<key>"},
		{"kv.stale.get.a%zz", nil, answer{code: CodeBadRequest}, "key"},
		{"kv.stale.get." + strings.Repeat("k", fanout.MaxKeyBytes+1), nil, answer{code: CodeTooLarge}, ""},
		{"kv.stale.get.k", min("x"), answer{code: CodeBadRequest}, HeaderMinRev},
		{"kv.stale.get.k", min("1", "2"), answer{code: CodeBadRequest}, HeaderMinRev},
		{"kv.stale.get.k", nats.Header{HeaderIfRev: {"1"}}, answer{code: CodeBadRequest}, HeaderIfRev},
	} {
		got := k.request(c.subject, "", c.header)
		if text := got.text; !strings.Contains(text, c.says) {
			t.Errorf("%.40s %v: the error is %q, want one that says %s", c.subject, c.header, text, c.says)
		}
		if got.text = ""; got != c.want {
			t.Errorf("%.40s %v: got %+v, want %+v", c.subject, c.header, got, c.want)
		}
	}
}

// TestReplicaAwaits: a read of a revision that is not there yet is answered when it
// is, or refused in time; others do not wait for it; and no more wait than may.
func TestReplicaAwaits(t *testing.T) {
	k := startKV(t, newMapBackend())
	b := newReplicaBackend()
	r := startReplicaOn(t, k.broker, b)
	send := func(in *replies, i int, revision string) {
		t.Helper()
		m := &nats.Msg{Subject: "kv.stale.get.k", Reply: fmt.Sprintf("%s.%d", in.prefix, i), Header: nats.Header{HeaderMinRev: {revision}}}
		if err := k.client.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	in := k.inbox(2 * MaxAwaiting)
	send(in, 0, "7")
	receive(t, k.ctx, "the read waits", b.waiting)
	if got := k.request("kv.stale.get.k", "", nil); got.value != "v" {
		t.Fatalf("a read beside one that waits: %+v", got)
	}
	b.reach(7)
	if i, got := k.next(in); i != 0 || got != (answer{value: "v", revision: 1}) {
		t.Fatalf("read %d was answered %+v", i, got)
	}

	send(in, 1, "8")
	if _, got := k.next(in); got.code != CodeUnavailable || !strings.Contains(got.text, "revision 8") {
		t.Fatalf("a revision that does not come: %+v", got)
	}
	<-b.waiting

	for i := range MaxAwaiting + 1 {
		send(in, i, "9")
	}
	if i, got := k.next(in); got.code != CodeBusy || i != MaxAwaiting {
		t.Fatalf("read %d beside %d that wait: %+v", i, MaxAwaiting, got)
	}
	for range MaxAwaiting {
		receive(t, k.ctx, "all wait", b.waiting)
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.Stop() }()
	for range MaxAwaiting {
		if i, got := k.next(in); got.code != CodeUnavailable {
			t.Fatalf("read %d of a replica that stops: %+v", i, got)
		}
	}
	receive(t, k.ctx, "Stop returns", stopped)
	if _, err := k.client.RequestWithContext(k.ctx, "kv.stale.get.k", nil); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after Stop: %v; want no responders", err)
	}
}

// TestReplicasShareRequests: of several one answers, and one that is left answers
// all.
func TestReplicasShareRequests(t *testing.T) {
	k := startKV(t, newMapBackend())
	one := startReplicaOn(t, k.broker, newReplicaBackend())
	startReplicaOn(t, k.broker, newReplicaBackend())
	in := k.inbox(300)
	for i := range 100 {
		k.send(in, i, "kv.stale.get.k", "")
	}
	for range 100 {
		k.next(in)
	}
	one.Stop()
	for i := range 100 {
		k.send(in, i, "kv.stale.get.k", "")
	}
	for range 100 {
		k.next(in)
	}
	flush(t, k.ctx, k.client)
	if n := len(in.messages); n != 0 {
		t.Errorf("%d answers are too many", n)
	}
}
