package nats

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestListingsAreBounded in number, and by time.
func TestListingsAreBounded(t *testing.T) {
	backend := newMapBackend()
	k := startKV(t, backend)
	backend.fill(2000, 1000)
	var open []*taker
	for i := range MaxListings {
		taker := k.ask([]string{"kv.list", "kv.since"}[i%2], "", map[bool]nats.Header{true: since("0")}[i%2 == 1])
		if _, _, failure := taker.next(); failure != nil {
			t.Fatalf("listing %d: %v", i, failure)
		}
		open = append(open, taker)
	}
	for _, taker := range []*taker{k.ask("kv.list", "", nil), k.ask("kv.since", "", since("0"))} {
		if failure := taker.all(); failure == nil || failure.Code != CodeBusy {
			t.Errorf("one more: %v, want 429", failure)
		}
	}
	// Where the state stands is answered all the same.
	if failure := k.ask("kv.since", "", nil).all(); failure != nil {
		t.Error(failure)
	}
	if failure := open[0].all(); failure != nil {
		t.Fatal(failure)
	}
	eventually(t, k.ctx, "its place is free", func() bool { return len(k.service.listings.places) < MaxListings })
	if failure := k.ask("kv.list", "", nil).all(); failure != nil {
		t.Error(failure)
	}
}

// TestListingTakesTooLong: it ends when its time is up.
func TestListingTakesTooLong(t *testing.T) {
	backend := newMapBackend()
	k := startListingKV(t, backend, ServiceOptions{listingTime: 300 * time.Millisecond})
	backend.fill(2000, 1000)
	if chunks, _, failure := k.ask("kv.list", "", nil).sentUntilFailure(); failure == nil || failure.Code != CodeUnavailable || !strings.Contains(failure.Description, "was not taken within") {
		t.Errorf("%d chunks, then %v", chunks, failure)
	}
}

// TestListingEndsWithItsService: Stop tells who takes one, and waits.
func TestListingEndsWithItsService(t *testing.T) {
	backend := newMapBackend()
	k := startKV(t, backend)
	b := newReplicaBackend()
	b.mapBackend = backend
	r := startReplicaOn(t, k.broker, b)
	backend.fill(2000, 1000)
	var open []*taker
	for _, subject := range []string{"kv.list", "kv.stale.list"} {
		for range 3 {
			taker := k.ask(subject, "", nil)
			for range MaxOpenChunks {
				if _, _, failure := taker.next(); failure != nil {
					t.Fatal(failure)
				}
			}
			open = append(open, taker)
		}
	}
	waiting := k.ask("kv.stale.list", "", nats.Header{HeaderMinRev: {"1000000"}})
	receive(t, k.ctx, "it waits", b.waiting)
	k.service.Stop()
	r.Stop()
	if goroutineIn("nats.(*listings)", "nats.(*listing)") {
		t.Error("Stop returned before its listings ended")
	}
	for i, taker := range append(open, waiting) {
		if _, _, failure := taker.next(); failure == nil || failure.Code != CodeUnavailable || !strings.HasPrefix(failure.Description, "this node ") {
			t.Errorf("listing %d ends with %v", i, failure)
		}
	}
}

// TestListingTooLate: what lies in the subscription when the service stops is turned
// away.
func TestListingTooLate(t *testing.T) {
	k := startKV(t, newMapBackend())
	r := startReplicaOn(t, k.broker, newReplicaBackend())
	for subject, service := range map[string]struct {
		mu    *sync.RWMutex
		conn  *nats.Conn
		stop  func()
		extra []*nats.Subscription // whose end is the last thing before it waits for mu
	}{
		"kv.list":       {&k.service.mu, k.service.conn, k.service.Stop, k.service.extra},
		"kv.stale.list": {&r.mu, r.conn, r.Stop, r.extra},
	} {
		service.mu.Lock() // the handler waits
		var asked []*taker
		for range MaxListings {
			asked = append(asked, k.ask(subject, "", nil))
		}
		flush(t, k.ctx, k.client)
		flush(t, k.ctx, service.conn) // all have arrived
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			service.stop()
		}()
		eventually(t, k.ctx, "it is stopping", func() bool { return !slices.ContainsFunc(service.extra, (*nats.Subscription).IsValid) })
		service.mu.Unlock()
		receive(t, k.ctx, "Stop returns", stopped)
		refused := 0
		for _, taker := range asked {
			switch failure := taker.all(); {
			case failure == nil:
			case failure.Code != CodeUnavailable:
				t.Errorf("%s: %v, want 503", subject, failure)
			default:
				refused++
			}
		}
		if refused == 0 {
			t.Errorf("%s: none came too late", subject)
		}
	}
}
