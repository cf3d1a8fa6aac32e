package nats

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

func TestPublisherChecksOptions(t *testing.T) {
	b := newBridge(t, bridgeOptions{inProcess: true})
	good := func() PublisherOptions { return PublisherOptions{Conn: b.conn, Ring: b.ring, After: 10} }
	for name, change := range map[string]func(*PublisherOptions){
		"no connection":    func(o *PublisherOptions) { o.Conn = nil },
		"no ring":          func(o *PublisherOptions) { o.Ring = nil },
		"bad root":         func(o *PublisherOptions) { o.Subjects.Watch = "a.*" },
		"lost from 0":      func(o *PublisherOptions) { o.Lost = &Range{0, 10} },
		"lost upside down": func(o *PublisherOptions) { o.Lost = &Range{5, 4} },
		"lost after After": func(o *PublisherOptions) { o.Lost = &Range{5, 11} },
	} {
		o := good()
		change(&o)
		if _, err := NewPublisher(o); !errors.Is(err, fanout.ErrBadOption) {
			t.Errorf("%s: error is %v, want ErrBadOption", name, err)
		}
	}
	o := good()
	o.Lost = &Range{10, 10}
	p, err := NewPublisher(o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Confirmed() != 9 {
		t.Errorf("what is announced as lost counts as confirmed: %d", p.Confirmed())
	}
}

func TestPublisherInOrder(t *testing.T) {
	for name, inProcess := range map[string]bool{"tcp": false, "in process": true} {
		t.Run(name, func(t *testing.T) {
			const n = 10_000
			b := newBridge(t, bridgeOptions{inProcess: inProcess, after: 5}).run()
			b.push(n)
			b.waitConfirmed(5 + n)
			b.heard.untilCovered(b.ctx, 5+n)
			b.wantRevisions(b.heard.revisions(), 6, 5+n)
			b.wantConfirmedGrew(5 + n)
			if len(b.heard.resets) > 0 || b.publisher.Events() != n {
				t.Errorf("without a fault %d resets were announced and %d events counted", len(b.heard.resets), b.publisher.Events())
			}
			if e := b.heard.events[0]; e.Key != "key.6" || string(e.Value) != "value" || !e.Time.Equal(time.Unix(0, 6)) {
				t.Errorf("the first event is %+v", e)
			}
		})
	}
}

// A flush is proof; what was handed to the connection is not.
func TestPublisherConfirmsWhatTheBrokerAnswered(t *testing.T) {
	b := newBridge(t, bridgeOptions{}).run()
	b.push(10)
	b.waitConfirmed(10)

	b.proxy.stall(toClient) // events go on to arrive, pongs do not
	b.push(5000)
	b.heard.untilCovered(b.ctx, 5010)
	if got := b.publisher.Confirmed(); got != 10 {
		t.Fatalf("without an answer %d is confirmed, want 10", got)
	}
	n := len(b.heard.beacons)
	b.heard.until(b.ctx, "beacons come", func() bool { return len(b.heard.beacons) > n+1 })
	if got := b.heard.beacons[n+1].Published; got != 10 {
		t.Errorf("without an answer a beacon says that %d is published, want 10", got)
	}
	ctx, cancel := context.WithCancelCause(b.ctx)
	cancel(errOwnerStopped)
	if err := b.publisher.WaitConfirmed(ctx, 5010); !errors.Is(err, errOwnerStopped) {
		t.Errorf("WaitConfirmed gives %v, want the cause of its context", err)
	}
	if err := b.publisher.WaitConfirmed(ctx, 10); err != nil {
		t.Errorf("WaitConfirmed for what is confirmed: %v", err)
	}

	b.proxy.resume(toClient)
	b.waitConfirmed(5010)
	b.wantConfirmedGrew(5010)
}

// A broker that takes nothing any more holds up nobody but the publisher.
func TestPublisherStalledBrokerDelaysNoWrite(t *testing.T) {
	b := newBridge(t, bridgeOptions{}).run()
	b.push(10)
	b.waitConfirmed(10)

	b.proxy.stall(toBroker)
	b.push(100)
	b.waitPublished()
	// More than sockets and buffers can take on the way.
	value := make([]byte, 64<<10)
	for range 400 {
		b.ring.Push(b.event(value))
		b.ring.Flush()
	}
	if got := b.publisher.Confirmed(); got != 10 {
		t.Fatalf("the broker got nothing, and %d is confirmed, want 10", got)
	}
	b.proxy.resume(toBroker)
	b.waitConfirmed(b.revision)
	b.heard.untilCovered(b.ctx, b.revision)
}

// What was sent but not confirmed when the connection broke is sent again, from
// the first revision that is not confirmed, and nothing is missing.
func TestPublisherBeginsBehindConfirmedAfterCut(t *testing.T) {
	for name, lose := range map[string]direction{
		"events are lost":  toBroker,
		"answers are lost": toClient,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBridge(t, bridgeOptions{}).run()
			b.push(1000)
			b.waitConfirmed(1000)
			b.proxy.stall(lose)
			b.push(1000)
			b.waitPublished()
			if lose == toClient {
				b.heard.untilCovered(b.ctx, 2000)
			} else {
				b.heard.settle(b.ctx)
				b.wantRevisions(b.heard.revisions(), 1, 1000)
			}
			before := len(b.heard.events)

			b.proxy.cut()
			b.proxy.resume(lose)
			b.push(1000)
			b.waitConfirmed(3000)
			b.heard.settle(b.ctx)
			b.wantRevisions(b.heard.revisions()[:before], 1, uint64(before))
			b.wantRevisions(b.heard.revisions()[before:], 1001, 3000)
			if len(b.heard.resets) > 0 {
				t.Errorf("nothing was lost, and %v was announced", b.heard.resets)
			}
		})
	}
}

// Many cuts at any moment. Where one connection ends and the next begins, what
// was still on its way may arrive in between; but nothing is missing, and no
// beacon says too much, which the listener checks.
func TestPublisherManyCuts(t *testing.T) {
	const cuts, events = 20, 1000
	// It reconnects at once, which leaves a session little time to notice.
	b := newBridge(t, bridgeOptions{conn: []nats.Option{nats.ReconnectWait(0)}})
	b.heard.overtaken = true
	b.run()
	for i := range cuts {
		b.push(events)
		if i%2 == 0 {
			b.waitConfirmed(b.revision - events + 1)
		}
		b.proxy.cut()
	}
	b.waitConfirmed(b.revision)
	b.heard.untilCovered(b.ctx, b.revision)
	b.wantConfirmedGrew(b.revision)
	if len(b.heard.resets) > 0 {
		t.Errorf("the ring had everything, and %v was announced", b.heard.resets)
	}
}

// What the ring dropped while the broker was away is announced, exactly.
func TestPublisherAnnouncesWhatTheRingLost(t *testing.T) {
	const slots = 64
	b := newBridge(t, bridgeOptions{slots: slots}).run()
	b.push(slots)
	b.waitConfirmed(slots)
	b.proxy.refuse()
	eventually(t, b.ctx, "the connection is seen to be lost", func() bool { return !b.conn.IsConnected() })
	b.push(1000)
	b.proxy.allow()
	b.waitConfirmed(1000 + slots)
	b.heard.untilCovered(b.ctx, 1000+slots)
	want := []Reset{{testCluster, testTerm, Range{slots + 1, 1000}}}
	if !slices.Equal(b.heard.resets, want) {
		t.Errorf("announced %v, want %v", b.heard.resets, want)
	}
	b.wantRevisions(b.heard.revisions()[slots:], 1001, 1000+slots)
	b.heard.until(b.ctx, "a beacon repeats the reset", func() bool {
		n := len(b.heard.beacons)
		if n == 0 || b.heard.beacons[n-1].Published < 1000 {
			return false
		}
		last := b.heard.beacons[n-1]
		return last.Resets == 1 && last.Reset != nil && *last.Reset == want[0].Range
	})
}

// The Lost option is announced before anything else, and in each session until
// an answer proves that the broker has it.
func TestPublisherAnnouncesLostUntilConfirmed(t *testing.T) {
	b := newBridge(t, bridgeOptions{after: 50, lost: &Range{20, 50}})
	b.push(10)
	b.proxy.mute()
	b.run()
	want := Reset{testCluster, testTerm, Range{20, 50}}
	for session := 1; session <= 3; session++ {
		before := len(b.heard.events)
		b.heard.until(b.ctx, "the session sends everything", func() bool { return len(b.heard.events) == before+10 })
		b.wantRevisions(b.heard.revisions()[before:], 51, 60)
		if len(b.heard.resets) != session || b.heard.resets[session-1] != want {
			t.Fatalf("session %d: announced %v, want %v in each", session, b.heard.resets, want)
		}
		if got := b.publisher.Confirmed(); got != 19 {
			t.Fatalf("%d is confirmed without an answer, want 19", got)
		}
		if session < 3 {
			b.proxy.cut()
		}
	}
	b.proxy.resume(toClient)
	b.waitConfirmed(60)
	b.wantConfirmedGrew(60)
	b.proxy.cut()
	b.push(10)
	b.waitConfirmed(70)
	b.heard.settle(b.ctx)
	if len(b.heard.resets) != 3 {
		t.Errorf("it was confirmed, and %v was announced", b.heard.resets)
	}
}

// An answer proves nothing of what was not said yet: a beacon may ask for one
// before the Lost option is announced.
func TestPublisherSignOfLifeConfirmsNothing(t *testing.T) {
	b := newBridge(t, bridgeOptions{after: 50, lost: &Range{20, 50}})
	b.publisher.confirm(b.publisher.Confirmed(), 0)
	b.run()
	b.waitConfirmed(50)
	b.heard.untilCovered(b.ctx, 50)
	b.wantConfirmedGrew(50)
	if len(b.confirmed) != 1 {
		t.Errorf("Confirmed was called with %v", b.confirmed)
	}
}

// What is published while disconnected would go out ahead of its turn.
func TestPublisherConnBuffersNothing(t *testing.T) {
	b := newBridge(t, bridgeOptions{})
	b.proxy.refuse()
	eventually(t, b.ctx, "the connection is seen to be lost", func() bool { return !b.conn.IsConnected() })
	if err := b.conn.Publish("watch.a", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("error is %v, want ErrReconnectBufExceeded", err)
	}
}

// The answer of one connection proves nothing about another.
func TestPublisherProvesOneConnection(t *testing.T) {
	b := newBridge(t, bridgeOptions{})
	s := &session{p: b.publisher, connection: b.conn.Stats().Reconnects}
	if err := s.prove(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.proxy.cut()
	eventually(t, b.ctx, "it has connected again", func() bool { return b.conn.Stats().Reconnects == 1 && b.conn.IsConnected() })
	if err := s.prove(b.ctx); !errors.Is(err, errDisconnected) {
		t.Errorf("error is %v, want errDisconnected", err)
	}
}

// The state was replaced as a whole: that is a loss up to the new state.
func TestPublisherAnnouncesReset(t *testing.T) {
	b := newBridge(t, bridgeOptions{}).run()
	b.push(10)
	b.waitConfirmed(10)
	b.ring.Reset(500)
	b.revision = 500
	b.push(10)
	b.waitConfirmed(510)
	b.heard.untilCovered(b.ctx, 510)
	if want := []Reset{{testCluster, testTerm, Range{11, 500}}}; !slices.Equal(b.heard.resets, want) {
		t.Errorf("announced %v, want %v", b.heard.resets, want)
	}
	b.wantRevisions(b.heard.revisions()[10:], 501, 510)
}

// The broker may be set up for less than the cluster.
func TestPublisherTooLargeForBroker(t *testing.T) {
	const limit = 1024
	b := newBridge(t, bridgeOptions{broker: func(o *server.Options) { o.MaxPayload = limit }}).run()
	b.push(10)
	b.ring.Push(b.event(make([]byte, limit)))
	b.ring.Flush()
	b.push(10)
	b.waitConfirmed(21)
	b.heard.untilCovered(b.ctx, 21)
	if want := []Reset{{testCluster, testTerm, Range{11, 11}}}; !slices.Equal(b.heard.resets, want) {
		t.Errorf("announced %v, want %v", b.heard.resets, want)
	}
	b.wantRevisions(b.heard.revisions()[:10], 1, 10)
	b.wantRevisions(b.heard.revisions()[10:], 12, 21)
	if b.publisher.Events() != 20 {
		t.Errorf("%d events were counted, want 20", b.publisher.Events())
	}
}

// A restart of the broker is a disconnect like any other.
func TestPublisherBrokerRestart(t *testing.T) {
	b := newBridge(t, bridgeOptions{}).run()
	b.push(100)
	b.waitConfirmed(100)
	b.heard.untilCovered(b.ctx, 100)
	b.proxy.refuse() // until the listener is back, which would miss something otherwise
	port := b.broker.Addr().(*net.TCPAddr).Port
	b.stopBroker()
	b.push(100)
	startBroker(t, func(o *server.Options) { o.Port = port })
	eventually(t, b.ctx, "the listener is back", func() bool {
		return b.heard.conn.Stats().Reconnects > 0 && b.heard.conn.IsConnected()
	})
	flush(t, b.ctx, b.heard.conn)
	b.proxy.allow()
	b.push(100)
	b.waitConfirmed(300)
	b.heard.untilCovered(b.ctx, 300)
	b.wantRevisions(b.heard.revisions(), 1, 300)
}

// The last word of a leader that stops is how far it got.
func TestPublisherDrain(t *testing.T) {
	b := newBridge(t, bridgeOptions{}).run()
	for range 6 {
		b.push(BeaconEvents / 2) // so that other beacons are under way
		if err := b.publisher.Drain(b.ctx, b.revision); err != nil {
			t.Fatal(err)
		}
		b.heard.settle(b.ctx)
		n := len(b.heard.beacons)
		if n == 0 || b.heard.beacons[n-1].Published != b.revision {
			t.Fatalf("after %d beacons nobody said that %d is published", n, b.revision)
		}
	}
	b.proxy.stall(toClient)
	b.push(1)
	ctx, cancel := context.WithTimeoutCause(b.ctx, 10*time.Millisecond, errOwnerStopped)
	defer cancel()
	if err := b.publisher.Drain(ctx, b.revision); !errors.Is(err, errOwnerStopped) {
		t.Errorf("error is %v, want the cause of the context", err)
	}
}

// A broker that takes everything and says nothing is given up, also while
// nothing happens.
func TestPublisherGivesUpSilentBroker(t *testing.T) {
	b := newBridge(t, bridgeOptions{})
	b.publisher.patience = 100 * time.Millisecond
	b.proxy.mute()
	b.run()
	given := func(n uint64) {
		t.Helper()
		eventually(t, b.ctx, "the connection is given up", func() bool { return b.conn.Stats().Reconnects >= n })
	}
	given(1)
	b.push(10)
	given(b.conn.Stats().Reconnects + 2)
	if got := b.publisher.Confirmed(); got != 0 {
		t.Fatalf("without an answer %d is confirmed", got)
	}
	b.proxy.resume(toClient)
	b.waitConfirmed(10)
	b.heard.untilCovered(b.ctx, 10)
}

func TestPublisherEndsWhileStalled(t *testing.T) {
	b := newBridge(t, bridgeOptions{conn: []nats.Option{nats.FlusherTimeout(300 * time.Millisecond), nats.Timeout(300 * time.Millisecond)}}).run()
	b.push(10)
	b.waitConfirmed(10)
	b.proxy.stall(toBroker)
	value := make([]byte, 256<<10)
	for range 150 { // more than fits between here and there, so that it blocks
		b.ring.Push(b.event(value))
	}
	b.ring.Flush()
	eventually(t, b.ctx, "a write blocks", func() bool { return goroutineIn("nats.wholeConn.Write") })
	b.cancel(errOwnerStopped)
	receive(t, b.ctx, "Run returns although the broker is stalled", b.ended)
	if !errors.Is(b.err, errOwnerStopped) {
		t.Errorf("Run returned %v, want the cause of its context", b.err)
	}
	wantNoGoroutineIn(t, b.ctx, "nats.(*Publisher)", "nats.(*session)")
}
