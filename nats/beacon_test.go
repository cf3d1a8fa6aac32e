package nats

import (
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// That beacons are true at any moment is checked by the listener.
func TestBeaconContent(t *testing.T) {
	t.Parallel() // it mostly waits
	began := time.Now()
	b := newBridge(t, bridgeOptions{after: 5}).run()
	b.push(10)
	b.heard.until(b.ctx, "beacons reach the newest revision", func() bool {
		n := len(b.heard.beacons)
		return n >= 3 && b.heard.beacons[n-1].Published == 15
	})
	for i, beacon := range b.heard.beacons {
		want := Beacon{
			Cluster: testCluster, Term: testTerm, Node: testNode, Seq: uint64(i + 1), After: uint64(i),
			Age: beacon.Age, Published: beacon.Published, Safe: beacon.Published, Sent: max(beacon.Sent, beacon.Published),
		}
		if !reflect.DeepEqual(beacon, want) {
			t.Errorf("beacon %d is %+v, want %+v", i, beacon, want)
		}
		if least := time.Duration(i) * BeaconPeriod * 9 / 10; beacon.Age < uint64(least.Milliseconds()) || beacon.Age > uint64(time.Since(began).Milliseconds()) {
			t.Errorf("beacon %d says that the term is %d ms old, %v after its beginning", i, beacon.Age, time.Since(began))
		}
	}
}

// One a period, and one after so many events.
func TestBeaconPace(t *testing.T) {
	began := time.Now()
	b := newBridge(t, bridgeOptions{inProcess: true}).run()
	b.heard.until(b.ctx, "beacons come although nothing happens", func() bool { return len(b.heard.beacons) == 3 })
	if took := time.Since(began); took < 2*BeaconPeriod*9/10 {
		t.Errorf("3 beacons came within %v, want one each %v", took, BeaconPeriod)
	}
	// The clock can be the cause of so many at most; the others are due to
	// events.
	byEvents := func() int { return len(b.heard.beacons) - int(time.Since(began)/BeaconPeriod) - 1 }
	b.heard.until(b.ctx, "beacons come after events", func() bool {
		n := len(b.heard.beacons)
		b.push(BeaconEvents)
		b.heard.until(b.ctx, "a beacon comes", func() bool { return len(b.heard.beacons) > n })
		b.heard.untilCovered(b.ctx, b.revision)
		return byEvents() >= 3
	})
}

// After a lost connection a beacon follows the last one that the broker had confirmed,
// and it comes before the events that go out again.
func TestBeaconsAcrossConnections(t *testing.T) {
	for name, lose := range map[string]direction{"what is said arrives": toClient, "what is said is lost": toBroker} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			b := newBridge(t, bridgeOptions{}).run()
			b.push(10)
			b.waitConfirmed(10)
			eventually(t, b.ctx, "a beacon is confirmed", func() bool { return b.publisher.heard.Load() > 0 })
			b.proxy.stall(lose)
			b.push(100)
			b.waitPublished()
			said := b.publisher.seq.Load()
			eventually(t, b.ctx, "beacons are handed to the connection", func() bool { return b.publisher.seq.Load() >= said+2 })
			said = b.publisher.seq.Load()
			if lose == toClient {
				b.heard.until(b.ctx, "beacons come", func() bool { return len(b.heard.beacons) >= int(said) })
				if last := b.heard.beacons[said-1]; last.After != said-1 || last.Published != 10 || last.Sent != 110 {
					t.Errorf("without an answer of the broker beacon %d is %+v", said, last)
				}
			}
			b.heard.settle(b.ctx)
			confirmed := b.publisher.heard.Load()
			beacons, events := len(b.heard.beacons), len(b.heard.events)
			b.proxy.cut()
			b.proxy.resume(lose)
			b.heard.until(b.ctx, "there is another connection", func() bool { return len(b.heard.beacons) > beacons })
			first := b.heard.beacons[beacons]
			if first.Seq <= said || first.After != confirmed || first.Published != 10 || first.Sent != 10 || len(b.heard.events) != events {
				t.Errorf("behind %d beacons, of which %d are confirmed, the next one is %+v, and %d events came before it", said, confirmed, first, len(b.heard.events)-events)
			}
			b.waitConfirmed(110)
			b.heard.until(b.ctx, "beacons go on", func() bool { return b.heard.beacons[len(b.heard.beacons)-1].Published == 110 })
			if next := b.heard.beacons[beacons+1]; next.After != first.Seq || next.Seq != first.Seq+1 {
				t.Errorf("%+v follows %+v", next, first)
			}
		})
	}
}

func TestBeaconDecode(t *testing.T) {
	for _, data := range []string{"", "x", "[]", `{"term":-1}`, `{"published":"1"}`} {
		if b, err := DecodeBeacon(&nats.Msg{Subject: "_watch.beacon", Data: []byte(data)}); err == nil {
			t.Errorf("%q is taken as %+v", data, b)
		}
	}
	for _, data := range []string{"", "x", "[]", `{"from":-1}`, `{}`, `{"from":0,"to":5}`, `{"from":6,"to":5}`} {
		if r, err := DecodeReset(&nats.Msg{Subject: "_watch.reset", Data: []byte(data)}); err == nil {
			t.Errorf("%q is taken as %+v", data, r)
		}
	}
	r, err := DecodeReset(&nats.Msg{Data: []byte(`{"cluster":"c","term":3,"from":5,"to":5,"more":1}`)})
	if want := (Reset{"c", 3, Range{5, 5}}); err != nil || r != want {
		t.Errorf("got %+v and %v, want %+v", r, err, want)
	}
}
