package fanouttest_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
	. "github.com/watchcast/watchcast/fanout/fanouttest"
)

// TestProperty derives, from a random log, what a watcher may receive that loses
// at random; that passes. Then one thing is changed that breaks a promise; that
// promise's check says so.
func TestProperty(t *testing.T) {
	done := make(map[string]int) // damages, how often
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		if err := h.receiver().Verify(h.last); err != nil {
			t.Fatalf("a history that is right: %v", err)
		}
		for _, name := range slices.Sorted(maps.Keys(damages)) {
			m := &damage{history: h, steps: slices.Clone(h.steps)}
			want := damages[name](t, m)
			if want == nil {
				continue // there is nothing to do it to
			}
			done[name]++
			r := h.log.Receiver(name, h.filter, h.start, h.options...)
			record(r, m.steps)
			if got := r.Verify(h.last); !slices.Contains(brokenList(got), nameOf(want)) {
				t.Fatalf("%s: %v, want %v", name, got, want)
			}
		}
	})
	for name := range damages {
		if done[name] == 0 {
			t.Errorf("%s: there was never anything to do it to", name)
		}
	}
	t.Logf("damages done: %v", done)
}

// step is one record: an event, or a state that is read.
type step struct {
	event *fanout.Event
	at    uint64
	state State
}

func record(r *Receiver, steps []step) {
	for _, s := range steps {
		if s.event != nil {
			r.Receive(s.event)
		} else {
			r.Read(s.at, s.state)
		}
	}
}

// history is a log, and what one receiver records of it.
type history struct {
	*author
	filter    fanout.Filter
	start     uint64
	conflated bool
	options   []ReceiverOption
	steps     []step
	lost      map[*fanout.Event][2]uint64 // by marker: first and last of what was lost
}

func (h *history) receiver() *Receiver {
	r := h.log.Receiver("random", h.filter, h.start, h.options...)
	record(r, h.steps)
	return r
}

// revisions returns what was committed above start for the filter, by revision.
func (h *history) revisions() (groups [][]*fanout.Event) {
	for revision := h.start + 1; revision <= h.last; revision++ {
		var group []*fanout.Event
		for _, e := range h.events[revision] {
			if h.filter.Match(e.Key) {
				group = append(group, e)
			}
		}
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// newest reports whether e is the last change of its key.
func (h *history) newest(e *fanout.Event) bool { return h.latest[e.Key] == e.Revision }

func drawLog(t *rapid.T) *author {
	a := newAuthor()
	keys := rapid.SampledFrom([]string{"k.a", "k.b", "k.c", "z"})
	revision := uint64(0)
	for range rapid.IntRange(1, 25).Draw(t, "revisions") {
		revision += rapid.Uint64Range(1, 3).Draw(t, "step")
		batch := rapid.SliceOfNDistinct(keys, 1, 4, rapid.ID).Draw(t, "keys")
		for i, key := range batch {
			if _, exists := a.state[key]; exists && rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				batch[i] = "-" + key
			}
		}
		if len(batch) > 1 {
			a.batch(revision, batch...)
		} else if key := batch[0]; key[0] == '-' {
			a.del(revision, key[1:])
		} else {
			a.put(revision, key)
		}
	}
	return a
}

func drawHistory(t *rapid.T) *history {
	h := &history{author: drawLog(t), lost: make(map[*fanout.Event][2]uint64)}
	var err error
	if h.filter, err = fanout.PatternFilter(rapid.SampledFrom([]string{"k.a", "k.*", ">"}).Draw(t, "filter")); err != nil {
		t.Fatal(err)
	}
	h.start = rapid.Uint64Range(0, h.last).Draw(t, "start")
	if h.conflated = rapid.Bool().Draw(t, "conflated"); h.conflated {
		h.options = append(h.options, Conflated())
	}
	wide := rapid.Bool().Draw(t, "wide")
	if !wide {
		h.options = append(h.options, OwnLosses())
	}
	if rapid.Bool().Draw(t, "initial") {
		h.options = append(h.options, Initial())
		for key, entry := range h.log.State(h.start, h.filter) {
			h.take(&fanout.Event{Op: fanout.Put, Key: key, Value: entry.Value, Revision: entry.Revision})
		}
		h.take(&fanout.Event{Op: fanout.Progress, Revision: h.start})
	}
	groups := h.revisions()
	through, read := h.start, h.start // the last revision that was received or flagged; and read
	for i := 0; i < len(groups); i++ {
		first := i
		for i < len(groups) && rapid.IntRange(0, 3).Draw(t, "lose") == 0 {
			i++
		}
		if i > first {
			from, to := groups[first][0].Revision, groups[i-1][0].Revision
			marker := &fanout.Event{Op: fanout.Lagged, PrevRevision: from, Revision: to}
			h.lost[marker] = [2]uint64{from, to}
			if next := h.last + 3; wide {
				if i < len(groups) {
					next = groups[i][0].Revision
				}
				marker.PrevRevision = rapid.Uint64Range(through+1, from).Draw(t, "from")
				marker.Revision = rapid.Uint64Range(to, next-1).Draw(t, "to")
			}
			through = marker.Revision
			h.take(marker)
			read = rapid.Uint64Range(max(read, through), max(read, through, h.last)).Draw(t, "read")
			h.steps = append(h.steps, step{at: read, state: h.log.State(read, h.filter)})
		}
		if i == len(groups) {
			break
		}
		for _, e := range groups[i] {
			if h.conflated && !h.newest(e) && rapid.Bool().Draw(t, "conflate") {
				continue
			}
			h.take(e)
			through = e.Revision
		}
		if !h.conflated && rapid.IntRange(0, 5).Draw(t, "progress") == 0 {
			h.take(&fanout.Event{Op: fanout.Progress, Revision: through})
		}
	}
	return h
}

func (h *history) take(e *fanout.Event) { h.steps = append(h.steps, step{event: e}) }
