package nats

import (
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

func ackOf(node string, seq, received uint64) Ack {
	return Ack{Cluster: testCluster, Term: testTerm, Node: node, Seq: seq, Received: received}
}

// audienceOf is that of a, which leads b and c from revision 10 on.
func audienceOf(now time.Time) *Audience {
	a := NewAudience("a")
	a.SetMembers([]string{"a", "b", "c"})
	a.lead(testTerm, 10, now)
	return a
}

// The safe revision, at moments after the term began.
func TestSafe(t *testing.T) {
	began := time.Unix(1, 0)
	a := audienceOf(began)
	at := func(after time.Duration, confirmed, want uint64) {
		t.Helper()
		if got := a.safeAt(confirmed, began.Add(after)); got != want {
			t.Fatalf("%v after the term began, with %d confirmed, %d is safe; want %d", after, confirmed, got, want)
		}
	}
	ack := func(after time.Duration, k Ack) { a.Ack(k, began.Add(after)) }
	at(0, 50, 10)
	ack(time.Second, ackOf("b", 1, 30))
	at(time.Second, 50, 10) // c counts as if it had been heard at the beginning
	ack(time.Second, ackOf("c", 1, 40))
	at(time.Second, 50, 30)
	at(time.Second, 20, 30) // never down
	ack(2*time.Second, ackOf("b", 2, 50))
	at(2*time.Second, 50, 40)
	ack(2*time.Second, ackOf("a", 2, 1)) // its own broker is what is confirmed
	ack(2*time.Second, ackOf("x", 2, 1)) // no member
	other := ackOf("c", 2, 45)
	other.Term++
	ack(2*time.Second, other) // of another leader's beacon
	at(2*time.Second, 50, 40)
	at(time.Second+AckPatience, 50, 40)
	at(time.Second+AckPatience+1, 50, 50) // c was silent for too long
	at(time.Minute, 60, 60)
	ack(time.Minute, ackOf("b", 3, 55))
	at(time.Minute, 70, 60)
	a.SetMembers([]string{"a", "c", "d"}) // b was removed, and d has never been heard
	at(time.Minute, 80, 80)
	ack(time.Minute, ackOf("d", 9, 81))
	at(time.Minute, 90, 81)
	if len(a.members) != 3 {
		t.Errorf("%d nodes are remembered, want the members", len(a.members))
	}
}

// A node that is gone holds up nothing, also in the next term, until it says something
// again.
func TestSafeWithoutTheGone(t *testing.T) {
	now := time.Unix(1, 0)
	a := audienceOf(now)
	want := func(confirmed, safe uint64, told bool) {
		t.Helper()
		if got := a.safeAt(confirmed, now); got != safe {
			t.Errorf("with %d confirmed, %d is safe; want %d", confirmed, got, safe)
		}
		if a.told(7, now) != told {
			t.Errorf("told is %v", !told)
		}
	}
	a.Ack(ackOf("b", 7, 40), now)
	want(50, 10, false)
	a.Gone("c")
	want(50, 40, true)
	a.Ack(ackOf("c", 7, 41), now)
	a.Ack(ackOf("b", 8, 60), now)
	want(60, 41, true)
	a.Gone("c")
	a.lead(testTerm+1, 60, now)
	want(70, 60, false) // b is waited for
	a.Gone("b")
	want(70, 70, true)
	a.Gone("b")
	a.Ack(Ack{Node: "b", Routes: map[string]uint64{"a": 1}}, now) // it has started again
	a.lead(testTerm+2, 70, now)
	want(80, 70, false)
	k := ackOf("b", 1, 80)
	k.Term += 2
	a.Ack(k, now)
	want(90, 80, false) // c is gone still, and b has not heard beacon 7 of this term
}

// Safe against a plain reckoning of it.
func TestSafeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1, 0)
		a := audienceOf(now)
		type node struct {
			heard         time.Time
			seq, received uint64
			gone          bool
		}
		model := map[string]*node{"b": {now, 0, 10, false}, "c": {now, 0, 10, false}}
		safe, confirmed := uint64(10), uint64(10)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			case 1:
				confirmed += rapid.Uint64Range(0, 5).Draw(t, "more")
			case 2:
				k := ackOf(rapid.SampledFrom([]string{"a", "b", "c", "x"}).Draw(t, "who"), rapid.Uint64Range(0, 20).Draw(t, "seq"), confirmed-rapid.Uint64Range(0, 10).Draw(t, "behind"))
				a.Ack(k, now)
				if m := model[k.Node]; m != nil && k.Seq >= m.seq {
					*m = node{now, k.Seq, k.Received, false}
				}
			case 3:
				who := rapid.SampledFrom([]string{"a", "b", "c", "x"}).Draw(t, "gone")
				a.Gone(who)
				if m := model[who]; m != nil {
					m.gone = true
				}
			}
			least := confirmed
			for _, m := range model {
				if !m.gone && now.Sub(m.heard) <= AckPatience {
					least = min(least, m.received)
				}
			}
			safe = max(safe, least)
			if got := a.safeAt(confirmed, now); got != safe {
				t.Fatalf("%d is safe, want %d", got, safe)
			}
		}
	})
}

// A loss is passed on once in a while for each node, and only if it can be true.
func TestAudienceLost(t *testing.T) {
	began := time.Unix(1, 0)
	a := audienceOf(began)
	seq := uint64(0)
	tell := func(after time.Duration, node string, lost Range, want bool) {
		t.Helper()
		seq++
		k := ackOf(node, seq, 50)
		k.Lost = &lost
		got, _ := a.ack(k, 50, began.Add(after))
		if want && (got == nil || *got != lost) || !want && got != nil {
			t.Fatalf("%v after the term began %s says that it has lost %v, and %v is to be announced", after, node, lost, got)
		}
	}
	tell(0, "b", Range{20, 51}, false) // 51 is not published
	tell(0, "b", Range{20, 50}, true)
	tell(time.Millisecond, "b", Range{20, 50}, false)
	tell(time.Millisecond, "b", Range{20, 49}, false) // nor another one so soon
	tell(time.Millisecond, "c", Range{20, 50}, true)
	tell(time.Millisecond, "a", Range{20, 50}, true)
	tell(time.Millisecond, "x", Range{20, 50}, false)
	tell(LostPause-1, "b", Range{20, 50}, false)
	tell(LostPause, "b", Range{20, 50}, true)
	a.lead(testTerm+1, 10, began.Add(LostPause))
	tell(2*LostPause, "b", Range{20, 50}, false) // of the term before
}

// The routes that nodes tell go into beacons, also when they were told to another leader.
func TestAudienceRoutes(t *testing.T) {
	a := NewAudience("a")
	a.SetMembers([]string{"a", "b", "c"})
	now := time.Unix(1, 0)
	tell := func(node string, term, seq uint64, routes map[string]uint64, want bool) {
		t.Helper()
		if _, news := a.ack(Ack{Term: term, Node: node, Seq: seq, Routes: routes}, 0, now); news != want {
			t.Fatalf("%s tells its routes %v: news is %v, want %v", node, routes, news, want)
		}
	}
	tell("b", 3, 1, map[string]uint64{"a": 5, "c": 9}, true)
	tell("b", 3, 2, map[string]uint64{"a": 5}, false)
	tell("c", 3, 2, map[string]uint64{"b": 5}, false)
	tell("x", 3, 2, map[string]uint64{"a": 5}, false)
	if got, want := a.routes(), (map[string]uint64{"b": 5}); !reflect.DeepEqual(got, want) {
		t.Fatalf("the routes are %v, want %v", got, want)
	}
	a.lead(4, 10, now)
	tell("b", 3, 3, map[string]uint64{"a": 6}, true)
	tell("b", 3, 2, map[string]uint64{"a": 5}, false) // late
	tell("b", 2, 9, map[string]uint64{"a": 5}, false)
	if got, want := a.routes(), (map[string]uint64{"b": 6}); !reflect.DeepEqual(got, want) {
		t.Fatalf("the routes are %v, want %v", got, want)
	}
}

func TestAudienceTold(t *testing.T) {
	began := time.Unix(1, 0)
	a := audienceOf(began)
	want := func(after time.Duration, told bool) {
		t.Helper()
		if a.told(5, began.Add(after)) != told {
			t.Fatalf("%v after the term began told is %v", after, !told)
		}
	}
	want(0, false)
	a.Ack(ackOf("b", 5, 10), began)
	want(0, false)
	a.Ack(ackOf("c", 4, 10), began)
	want(0, false)
	a.Ack(ackOf("c", 6, 10), began.Add(1))
	want(1, true)
	a.lead(testTerm+1, 10, began.Add(1))
	want(1, false)
	want(AckPatience+2, true) // nobody answers
}

func TestAckDecode(t *testing.T) {
	for _, data := range []string{"", "x", "[]", "{}", `{"node":""}`, `{"node":1}`, `{"node":"b","seq":-1}`, `{"node":"b","lost":{"from":0,"to":1}}`, `{"node":"b","lost":{"from":2,"to":1}}`, `{"node":"b","routes":[1]}`} {
		if k, err := DecodeAck(&nats.Msg{Subject: "_watch.ack", Data: []byte(data)}); err == nil {
			t.Errorf("%q is taken as %+v", data, k)
		}
	}
	k, err := DecodeAck(&nats.Msg{Data: []byte(`{"cluster":"c","term":3,"node":"b","seq":4,"received":5,"lost":{"from":6,"to":7},"proven":true,"routes":{"a":8},"more":1}`)})
	want := Ack{Cluster: "c", Term: 3, Node: "b", Seq: 4, Received: 5, Lost: &Range{6, 7}, Proven: true, Routes: map[string]uint64{"a": 8}}
	if err != nil || !reflect.DeepEqual(k, want) {
		t.Errorf("got %+v and %v, want %+v", k, err, want)
	}
}
