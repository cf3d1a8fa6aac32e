package nats

import (
	"reflect"
	"testing"
)

// A beacon comes to the third node of a cluster, over route 7 unless it says
// otherwise, with which the leader is content.
func beaconOf(term, seq, after, sent, published uint64) Beacon {
	return Beacon{
		Cluster: testCluster, Term: term, Node: "a", Seq: seq, After: after,
		Sent: sent, Published: published, Routes: map[string]uint64{"c": 7},
	}
}

func over(b Beacon, route uint64) Beacon {
	b.Routes = map[string]uint64{"c": route}
	return b
}

// What each beacon has a node say.
func TestHearing(t *testing.T) {
	type step struct {
		beacon   Beacon
		route    uint64 // there is now
		received uint64
		lost     *Range
	}
	first := step{beaconOf(1, 1, 0, 10, 10), 7, 10, nil}
	for name, steps := range map[string][]step{
		"in turn":                        {first, {beaconOf(1, 2, 1, 20, 15), 7, 15, nil}, {beaconOf(1, 3, 2, 20, 20), 7, 20, nil}},
		"the first one is of the middle": {{beaconOf(1, 9, 8, 30, 20), 7, 30, nil}, {beaconOf(1, 10, 9, 35, 34), 7, 34, nil}},
		"one is missing":                 {first, {beaconOf(1, 3, 2, 20, 18), 7, 20, &Range{11, 20}}},
		"one is missing, and nothing else": {
			first, {beaconOf(1, 3, 2, 10, 10), 7, 10, nil}, {beaconOf(1, 4, 3, 20, 20), 7, 20, nil}},
		"the leader had lost its connection": {
			first, {beaconOf(1, 2, 1, 20, 15), 7, 15, nil}, {beaconOf(1, 4, 1, 15, 15), 7, 15, nil}, {beaconOf(1, 5, 4, 30, 30), 7, 30, nil}},
		"one of the lost connection comes late": {
			first, {beaconOf(1, 3, 1, 10, 10), 7, 10, nil}, {beaconOf(1, 2, 1, 20, 10), 7, 10, nil}, {beaconOf(1, 4, 3, 30, 30), 7, 30, nil}},
		"the first one of a connection is missing": {first, {beaconOf(1, 5, 4, 30, 30), 7, 30, &Range{11, 30}}},
		"the route was formed anew":                {first, {beaconOf(1, 2, 1, 20, 15), 8, 10, nil}, {over(beaconOf(1, 3, 2, 30, 25), 8), 8, 30, &Range{11, 30}}},
		"the route was formed anew while the leader was away": {
			first, {beaconOf(1, 2, 1, 20, 15), 8, 10, nil}, {over(beaconOf(1, 3, 1, 15, 15), 8), 8, 15, &Range{11, 15}}},
		"the route was formed anew while nothing happened": {
			first, {beaconOf(1, 2, 1, 10, 10), 8, 10, nil}, {over(beaconOf(1, 3, 2, 10, 10), 8), 8, 10, nil}, {over(beaconOf(1, 4, 3, 20, 20), 8), 8, 20, nil}},
		"two holes are one range": {
			first, {beaconOf(1, 3, 2, 20, 20), 7, 20, &Range{11, 20}}, {beaconOf(1, 4, 3, 30, 30), 7, 30, &Range{11, 20}}, {beaconOf(1, 6, 5, 40, 40), 7, 40, &Range{11, 40}}},
		"a term begins below":                     {first, {beaconOf(2, 1, 0, 8, 8), 7, 10, nil}, {beaconOf(2, 2, 1, 20, 20), 7, 20, nil}},
		"a term begins above":                     {first, {beaconOf(2, 1, 0, 12, 12), 7, 12, &Range{11, 12}}},
		"the beginning of a term is missing":      {first, {beaconOf(2, 2, 1, 20, 9), 7, 20, &Range{11, 20}}},
		"a term whose numbers look like going on": {first, {beaconOf(2, 2, 1, 20, 20), 7, 20, &Range{11, 20}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHearing("c", true)
			for i, s := range steps {
				routes := map[string]uint64{"a": s.route, "b": 3}
				want := Ack{Cluster: testCluster, Term: s.beacon.Term, Node: "c", Seq: s.beacon.Seq, Received: s.received, Lost: s.lost, Proven: s.beacon.Routes["c"] == s.route, Routes: routes}
				if got, ok := h.Beacon(s.beacon, routes); !ok || !reflect.DeepEqual(got, want) {
					t.Fatalf("step %d: to %+v the answer is %+v, %v; want %+v", i, s.beacon, got, ok, want)
				}
			}
		})
	}
}

// What is not answered, and changes nothing.
func TestHearingIgnores(t *testing.T) {
	h := NewHearing("c", true)
	routes := map[string]uint64{"a": 7}
	h.Beacon(beaconOf(2, 1, 0, 10, 10), routes)
	if a, ok := h.Beacon(beaconOf(1, 2, 1, 20, 20), routes); ok {
		t.Errorf("the beacon of an earlier term is answered by %+v", a)
	}
	if a, ok := h.Beacon(beaconOf(2, 2, 1, 20, 20), nil); ok {
		t.Errorf("with no route to the leader the answer is %+v", a)
	}
	if a, ok := h.Beacon(beaconOf(2, 3, 2, 10, 10), routes); !ok || a.Received != 10 || a.Lost != nil {
		t.Errorf("after that the answer is %+v, %v; want 10 received and nothing lost", a, ok)
	}
}

// A route with which the leader is not content proves nothing, also in the life of a node
// that has just begun.
func TestHearingUnknownRoute(t *testing.T) {
	h := NewHearing("c", true)
	routes := map[string]uint64{"a": 7}
	for _, b := range []Beacon{over(beaconOf(1, 1, 0, 10, 10), 0), over(beaconOf(1, 2, 1, 20, 20), 6)} {
		if a, ok := h.Beacon(b, routes); !ok || a.Received != 0 || a.Lost != nil {
			t.Fatalf("the answer is %+v, %v; want one that claims nothing", a, ok)
		}
	}
	if a, _ := h.Beacon(beaconOf(1, 3, 2, 30, 30), routes); a.Received != 30 || a.Lost != nil {
		t.Fatalf("with a known route the answer is %+v; want 30 received and nothing lost", a)
	}
}

// The leader itself, and a node without a broker of its own, have no route to look at.
func TestHearingWithoutRoutes(t *testing.T) {
	for name, h := range map[string]*Hearing{"leader": NewHearing("a", true), "external broker": NewHearing("c", false)} {
		h.Beacon(beaconOf(1, 1, 0, 10, 10), nil)
		if a, ok := h.Beacon(beaconOf(1, 2, 1, 20, 20), nil); !ok || a.Received != 20 || a.Lost != nil {
			t.Errorf("%s: the answer is %+v, %v; want 20 received", name, a, ok)
		}
		if a, _ := h.Beacon(beaconOf(1, 4, 3, 40, 40), nil); a.Lost == nil || *a.Lost != (Range{21, 40}) {
			t.Errorf("%s: the answer is %+v; want 21..40 lost", name, a)
		}
	}
}

// A hole is told until a reset covers it.
func TestHearingReset(t *testing.T) {
	h := NewHearing("c", false)
	h.Beacon(beaconOf(1, 1, 0, 10, 10), nil)
	seq := uint64(2)
	lost := func() *Range {
		seq++
		a, _ := h.Beacon(beaconOf(1, seq, seq-1, 20, 20), nil)
		return a.Lost
	}
	want := Range{11, 20}
	for _, r := range []Range{{1, 10}, {12, 20}, {11, 19}, {21, 30}} {
		if got := lost(); got == nil || *got != want {
			t.Fatalf("lost is %v, want %v", got, want)
		}
		h.Reset(r)
	}
	if got := lost(); got == nil || *got != want {
		t.Fatalf("after resets that do not cover it lost is %v, want %v", got, want)
	}
	h.Reset(Range{5, 25})
	if got := lost(); got != nil {
		t.Fatalf("after a reset that covers it lost is %v", got)
	}
}

// TestHearingGuests: a client that was at the broker before its routes were may have
// missed what was published since the node started; without one nobody has.
func TestHearingGuests(t *testing.T) {
	routes := map[string]uint64{"a": 7}
	for _, c := range []struct {
		name   string
		guests bool
		from   uint64
		lost   *Range
	}{
		{"nobody", false, 0, nil},
		{"somebody", true, 7, &Range{8, 20}},
		{"somebody, and nothing was published since", true, 20, nil},
	} {
		h := NewHearing("c", true)
		if c.guests {
			h.Guests(c.from)
		}
		// The leader has not heard of the route yet.
		early := beaconOf(1, 1, 0, 15, 15)
		early.Routes = nil
		if a, _ := h.Beacon(early, routes); a.Lost != nil || a.Proven || h.Known() {
			t.Errorf("%s: a beacon that proves nothing counts: %+v", c.name, a)
		}
		a, ok := h.Beacon(beaconOf(1, 2, 1, 20, 20), routes)
		if !ok || !h.Known() || !a.Proven || a.Received != 20 || !reflect.DeepEqual(a.Lost, c.lost) {
			t.Errorf("%s: %+v; want lost %+v", c.name, a, c.lost)
		}
	}
}
