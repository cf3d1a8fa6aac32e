package fanout

import (
	"testing"

	"pgregory.net/rapid"
)

var policies = []Policy{DropNewest, DropOldest, Conflate, Cancel}

// TestBufferModel offers single changes, batches and losses in any order and to
// each policy, and takes in between.
func TestBufferModel(t *testing.T) {
	for _, policy := range policies {
		t.Run(policy.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { testBufferModel(t, policy) })
		})
	}
}

func testBufferModel(t *rapid.T, policy Policy) {
	limit := rapid.IntRange(1, 12).Draw(t, "limit")
	b := &buffer{limit: uint32(limit), policy: policy}
	m := &mailbox{limit: limit, policy: policy}
	var l ledger
	revision := uint64(0)
	matched, dropped, conflated := 0, 0, 0
	var offered []*Event
	step := func() uint64 {
		revision += rapid.Uint64Range(1, 3).Draw(t, "step")
		return revision
	}
	put := func(group []*Event) {
		if m.ended {
			t.Skip("the watcher has ended")
		}
		b.reserve(len(group) + rapid.IntRange(0, 3).Draw(t, "more"))
		gotDropped, gotConflated, cancel := b.put(group)
		wantDropped, wantConflated := m.put(group)
		if int(gotDropped) != wantDropped || int(gotConflated) != wantConflated || cancel != m.ended {
			t.Fatalf("put of revision %d dropped %d and conflated %d, cancels: %v; want %d, %d, %v",
				group[0].Revision, gotDropped, gotConflated, cancel, wantDropped, wantConflated, m.ended)
		}
		if cancel {
			return
		}
		offered = append(offered, group...)
		matched += len(group)
		dropped += wantDropped
		conflated += wantConflated
	}
	take := func() bool {
		ready := b.ready()
		got, want := b.take(), m.take()
		if !same(got, want) || ready != (got != nil) {
			t.Fatalf("take gave %+v, want %+v; ready said %v", got, want, ready)
		}
		if got != nil {
			l.add(t, got)
		}
		return got != nil
	}
	keys := rapid.SampledFrom(modelKeys)
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) { put([]*Event{change(keys.Draw(t, "key"), step())}) },
		"batch": func(t *rapid.T) {
			put(batchOf(step(), rapid.SliceOfNDistinct(keys, 2, len(modelKeys), rapid.ID).Draw(t, "keys")...))
		},
		"lose": func(t *rapid.T) {
			if policy == Cancel {
				t.Skip("the watcher ends then")
			}
			from, to := step(), step()
			b.lose(from, to)
			m.lose(from, to)
		},
		"take": func(*rapid.T) { take() },
		"": func(t *rapid.T) {
			checkSlots(t, b)
			if matched != l.received+dropped+conflated+int(b.pending()) {
				t.Fatalf("%d matched, %d were received, %d dropped, %d conflated, %d wait", matched, l.received, dropped, conflated, b.pending())
			}
		},
	})
	for take() {
	}
	checkDrained(t, b)
	if policy == Conflate {
		return
	}
	lost := 0
	for _, e := range offered {
		if l.covers(e.Revision) {
			lost++
		}
	}
	if lost != dropped {
		t.Fatalf("%d were dropped, the markers cover %d", dropped, lost)
	}
}

// checkSlots: the bound holds, no slot keeps what was taken or dropped, and
// what the buffer says of itself is so.
func checkSlots(t rapid.TB, b *buffer) {
	t.Helper()
	q := b.more
	if q == nil {
		return
	}
	if b.one != nil {
		t.Fatal("an event is held beside the slots")
	}
	used, events := uint32(0), uint32(0)
	for _, e := range q.ring {
		if e != nil {
			used++
			if e.counts() {
				events++
			}
		}
	}
	holes := uint32(0)
	if q.conflate != nil {
		holes = q.conflate.holes
	}
	if used+holes != q.n || events != q.events {
		t.Fatalf("%d slots hold %d changes, with %d holes; the queue says %d and %d", used, events, holes, q.n, q.events)
	}
	if b.policy != Conflate && (events > b.limit || used > 2*b.limit+1) {
		t.Fatalf("%d changes in %d slots, the limit is %d", events, used, b.limit)
	}
	if b.policy == Conflate && q.n > 3*uint32(len(modelKeys))+3*squeezeAt {
		t.Fatalf("%d slots for %d keys", q.n, len(modelKeys))
	}
	if q.n == 0 {
		checkDrained(t, b)
	}
}

// checkDrained: a watcher with nothing to take costs no memory beside itself; with
// Conflate, it keeps what is small.
func checkDrained(t rapid.TB, b *buffer) {
	t.Helper()
	if b.one != nil || b.more != nil && (b.policy != Conflate || &b.more.ring[0] != &b.more.few[0]) {
		t.Fatalf("an empty buffer holds %+v, %+v", b.one, b.more)
	}
}

// TestConflateStuck: a consumer that does not come costs the slots of its keys,
// whatever happens meanwhile, losses of the dispatcher included.
func TestConflateStuck(t *testing.T) {
	const keys, rounds = 50, 1000
	b := &buffer{policy: Conflate}
	revision, most := uint64(0), uint32(0)
	for round := range rounds {
		for k := range keys {
			revision++
			b.replace([]*Event{change(string(rune('a'+k)), revision)})
			most = max(most, b.more.n)
		}
		if round%2 == 0 {
			revision++
			b.lose(revision, revision)
		}
	}
	if most > 4*keys {
		t.Fatalf("%d slots for %d keys", most, keys)
	}
	for want := revision - keys + 1; b.pending() > 0; {
		e := b.take()
		if e.Op == Lagged {
			continue
		}
		if e.Revision != want && e.Revision != want-1 { // the last loss lies behind or in front
			t.Fatalf("took revision %d, want %d", e.Revision, want)
		}
		want = e.Revision + 1
	}
	if len(b.more.conflate.places) != 0 {
		t.Fatalf("%d keys are remembered of an empty buffer", len(b.more.conflate.places))
	}
}
