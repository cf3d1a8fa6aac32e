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
	b := newBridge(t, bridgeOptions{after: 5}).run()
	b.push(10)
	b.heard.until(b.ctx, "beacons reach the newest revision", func() bool {
		n := len(b.heard.beacons)
		return n >= 3 && b.heard.beacons[n-1].Published == 15
	})
	for i, beacon := range b.heard.beacons {
		want := Beacon{
			Cluster: testCluster, Term: testTerm, Node: testNode, Seq: uint64(i + 1), After: uint64(i),
			Published: beacon.Published, Safe: beacon.Published, Sent: max(beacon.Sent, beacon.Published),
		}
		if !reflect.DeepEqual(beacon, want) {
			t.Errorf("beacon %d is %+v, want %+v", i, beacon, want)
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
