package nats

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
)

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
	backend.entries["a"] = Entry{Value: []byte("old"), Revision: 1}
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
	backend.entries["a"] = Entry{Value: []byte("new"), Revision: 2}
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
