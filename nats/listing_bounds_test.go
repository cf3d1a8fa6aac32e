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
	for subject, begin := range map[string]func(*testing.T, *kv) stopping{
		"kv.list": func(_ *testing.T, k *kv) stopping {
			return stopping{&k.service.mu, k.service.conn, k.service.Stop, k.service.extra}
		},
		"kv.stale.list": func(t *testing.T, k *kv) stopping {
			r := startReplicaOn(t, k.broker, newReplicaBackend())
			return stopping{&r.mu, r.conn, r.Stop, r.extra}
		},
	} {
		t.Run(subject, func(t *testing.T) {
			for range 10 { // the handler may have mu again and again, until it has read all that lies there
				k := startKV(t, newMapBackend())
				if begin(t, k).tooLate(k, subject) > 0 {
					return
				}
			}
			t.Error("none came too late, ten times")
		})
	}
}

// stopping is a service that is stopped while its handler waits for mu.
type stopping struct {
	mu    *sync.RWMutex
	conn  *nats.Conn
	stop  func()
	extra []*nats.Subscription // whose end is the last thing before stop waits for mu, too
}

// tooLate returns how many requests it turns away.
func (s stopping) tooLate(k *kv, subject string) (refused int) {
	k.t.Helper()
	s.mu.Lock()
	var asked []*taker
	for range MaxListings {
		asked = append(asked, k.ask(subject, "", nil))
	}
	flush(k.t, k.ctx, k.client)
	flush(k.t, k.ctx, s.conn) // all have arrived
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	eventually(k.t, k.ctx, "it is stopping", func() bool { return !slices.ContainsFunc(s.extra, (*nats.Subscription).IsValid) })
	s.mu.Unlock()
	receive(k.t, k.ctx, "Stop returns", stopped)
	for _, taker := range asked {
		switch failure := taker.all(); {
		case failure == nil:
		case failure.Code != CodeUnavailable:
			k.t.Errorf("%s: %v, want 503", subject, failure)
		default:
			refused++
		}
	}
	return refused
}
