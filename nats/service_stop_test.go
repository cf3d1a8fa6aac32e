package nats

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

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
	for range 10 { // which of two ready channels is looked at is a matter of luck
		stopAmongReads(t)
	}
}

func stopAmongReads(t *testing.T) {
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

// The same for reads that have arrived but were not taken yet.
func TestServiceStopTurnsAwayReads(t *testing.T) {
	const n = 50
	backend := newMapBackend()
	backend.proof = make(chan error)
	k := startKV(t, backend)
	r := k.inbox(n)
	k.service.mu.Lock() // the handler waits
	for i := range n {
		k.send(r, i, "kv.get.a", "")
	}
	flush(t, k.ctx, k.client)
	flush(t, k.ctx, k.service.conn) // all have arrived
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		k.service.Stop()
	}()
	eventually(t, k.ctx, "the service is stopping", func() bool { return k.service.micro.Stopped() })
	k.service.mu.Unlock()
	receive(t, k.ctx, "Stop returns", stopped)
	answered := make(map[int]bool)
	for range n {
		i, got := k.next(r)
		if answered[i] || got.code != CodeUnavailable {
			t.Fatalf("request %d gets %+v, want 503", i, got)
		}
		answered[i] = true
	}
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
	flush(t, k.ctx, k.service.conn) // all have arrived, and
	backend.propose <- struct{}{}   // one was proposed, and
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
