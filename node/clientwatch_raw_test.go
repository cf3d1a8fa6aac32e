package node

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// TestClientWatchRaw: of a network that loses one event in ten, a raw watch says exactly
// which keys it has missed something of, and never one of which it has not, as far as
// another change followed.
func TestClientWatchRaw(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	p := newLossy(t, strings.TrimPrefix(n.NATSURL(), "nats://"), func(subject string) bool {
		return strings.HasPrefix(subject, "watch.k.") && rand.N(10) == 0
	})
	w, err := client(t, p.url()).Watch(bounded(t), ">", nats.WatchOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	next := func() nats.Update {
		u, err := w.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	if u := next(); u.Kind != nats.Synced {
		t.Fatalf("the first update is %+v", u)
	}
	truth := watch(t, n, ">", fanout.WithBuffer(fanout.MaxBuffer))
	churn(t, n, 3000, 50)
	for i := range 100 {
		put(t, n, fmt.Sprintf("k.%d", i), "over") // so that there is another change
	}
	last := put(t, n, "last", "x")

	type change struct {
		key      string
		revision uint64
	}
	got, told := make(map[change]bool), make(map[string][]nats.Range)
	for u := next(); u.Kind != nats.Changed || u.Event.Revision != last; u = next() {
		switch u.Kind {
		case nats.Changed:
			got[change{u.Event.Key, u.Event.Revision}] = true
		case nats.Lost:
			told[u.Key] = append(told[u.Key], u.Range)
		}
	}
	newest := make(map[string]uint64)
	for c := range got {
		newest[c.key] = max(newest[c.key], c.revision)
	}
	missing := make(map[string][]uint64)
	for e, err := truth.Next(bounded(t)); e.Revision != last; e, err = truth.Next(bounded(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if !got[change{e.Key, e.Revision}] && e.Revision < newest[e.Key] {
			missing[e.Key] = append(missing[e.Key], e.Revision)
		}
	}
	if len(missing) == 0 {
		t.Error("nothing was lost")
	}
	within := func(r nats.Range, revisions []uint64) bool {
		for _, revision := range revisions {
			if r.From <= revision && revision <= r.To {
				return true
			}
		}
		return false
	}
	for key, revisions := range missing {
		for _, revision := range revisions {
			found := false
			for _, r := range told[key] {
				found = found || r.From <= revision && revision <= r.To
			}
			if !found {
				t.Errorf("revision %d of %s was lost without a word; told were %v", revision, key, told[key])
			}
		}
	}
	for key, ranges := range told {
		for _, r := range ranges {
			if !within(r, missing[key]) {
				t.Errorf("a loss of %q in %v was told, and missing are %v", key, r, missing[key])
			}
		}
	}
}
