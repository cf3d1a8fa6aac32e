package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

func filterOf(t tester, pattern string) fanout.Filter {
	t.Helper()
	f, err := fanout.PatternFilter(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// past is every state that there was since the last that was restored, by its
// revision, and what there is to know of deletes.
type past struct {
	keep    int
	floor   uint64
	states  map[uint64]map[string]Entry
	deletes []*pastDelete
}

type pastDelete struct {
	tombstone
	op      fanout.Op
	revived bool
}

// note takes over what a command has made of the state.
func (p *past) note(revision uint64, alive map[string]Entry, events []*fanout.Event) {
	p.states[revision] = maps.Clone(alive)
	for _, e := range events {
		if e.Op == fanout.Put {
			for _, d := range p.deletes {
				d.revived = d.revived || d.key == e.Key
			}
			continue
		}
		p.deletes = append(p.deletes, &pastDelete{tombstone: tombstone{key: e.Key, revision: revision}, op: e.Op})
		if n := len(p.deletes) - 1 - p.keep; n >= 0 && !p.deletes[n].revived {
			p.floor = max(p.floor, p.deletes[n].revision)
		}
	}
}

// check asks what has changed since a revision, and applies it to the state of then.
func (p *past) check(t tester, f *FSM, pattern string, since uint64) {
	t.Helper()
	filter := filterOf(t, pattern)
	changes, err := f.Since(filter, since)
	at := f.Revision()
	if since < p.floor || since > at {
		var gone *GoneError
		if !errors.Is(err, ErrGone) || !errors.As(err, &gone) || *gone != (GoneError{since, p.floor, at}) {
			t.Fatalf("since %d at %d: %v; want that it is gone, with the oldest %d", since, at, err, p.floor)
		}
		return
	}
	if err != nil || changes.Revision != at {
		t.Fatalf("since %d at %d: through %d, %v", since, at, changes.Revision, err)
	}
	then := since
	for p.states[then] == nil {
		then-- // no command came at that revision
	}
	got := maps.Clone(p.states[then])
	seen := map[string]bool{}
	for c := range changes.All() {
		if seen[c.Key] || !filter.Match(c.Key) || c.Revision <= since || c.Revision > at {
			t.Fatalf("since %d at %d of %s: %+v, which is a repeat: %v", since, at, pattern, c, seen[c.Key])
		}
		seen[c.Key] = true
		if c.Op == fanout.Put {
			got[c.Key] = c.Entry
			continue
		}
		delete(got, c.Key)
		i := slices.IndexFunc(p.deletes, func(d *pastDelete) bool { return d.key == c.Key && d.revision == c.Revision })
		if i < 0 || c.Op != p.deletes[i].op && c.Op != fanout.Delete || c.Op == fanout.Expire && c.Time.IsZero() ||
			!c.Time.IsZero() && !c.Time.Equal(timeAt(c.Revision)) || c.Value != nil || c.Expires != 0 {
			t.Fatalf("since %d at %d: %+v, which did not happen", since, at, c)
		}
	}
	for key, want := range p.states[at] {
		have, ok := got[key]
		if filter.Match(key) && (!ok || have.Revision != want.Revision || !bytes.Equal(have.Value, want.Value) || have.Expires != want.Expires || !have.Time.Equal(want.Time)) {
			t.Fatalf("since %d at %d of %s: key %q is %+v, want %+v", since, at, pattern, key, have, want)
		}
	}
	for key := range got {
		if _, exists := p.states[at][key]; filter.Match(key) && !exists {
			t.Fatalf("since %d at %d of %s: key %q is still there", since, at, pattern, key)
		}
	}
}

// TestSinceModel: the state at a revision with what has changed since is the state
// now; or the answer is that it cannot be told, exactly when a delete since then was
// forgotten, or another state was restored. So it is with a ring that reaches back,
// with one that does not, and with none, and on a replica made of a snapshot.
func TestSinceModel(t *testing.T) {
	told, gone := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		keep := rapid.IntRange(1, 5).Draw(rt, "keep")
		slots := rapid.SampledFrom([]int{0, 1, 4, 64}).Draw(rt, "slots")
		fresh := func() *FSM {
			var o Options
			if slots > 0 {
				o.Ring, _ = fanout.NewRing(fanout.RingOptions{Slots: slots})
			}
			return newFSM(o, limits{keep, keep})
		}
		f, last := fresh(), uint64(1)
		f.Apply(logOf(last, Command{Op: CommandInit, Cluster: testCluster}))
		want := &model{keep: keep, alive: map[string]Entry{}}
		history := &past{keep: keep, states: map[uint64]map[string]Entry{0: {}, last: {}}}
		rt.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "commands") {
					last += rapid.Uint64Range(1, 2).Draw(t, "step")
					c := drawChange(t, want)
					f.Apply(logOf(last, c))
					events, _ := want.apply(c, last)
					history.note(last, want.alive, events)
				}
			},
			"restart from a snapshot": func(t *rapid.T) {
				snapshot := snapshotOf(t, f)
				f = fresh()
				if err := restore(f, snapshot); err != nil {
					t.Fatal(err)
				}
			},
			"restore a backup": func(t *rapid.T) {
				b := f.Backup() // of a state with other keys than that it replaces
				for range rapid.IntRange(0, 3).Draw(t, "undone") {
					last++
					c := drawChange(t, &model{keep: keep, time: want.time, alive: maps.Clone(want.alive)})
					f.Apply(logOf(last, c))
				}
				last++
				if err := b.MoveTo(testCluster, last); err != nil {
					t.Fatal(err)
				}
				if err := restore(f, backupOf(t, b)); err != nil {
					t.Fatal(err)
				}
				history.floor = last
				history.states = map[uint64]map[string]Entry{last: maps.Clone(want.alive)}
			},
			"": func(t *rapid.T) {
				pattern := rapid.SampledFrom([]string{">", "*", "a", "b", "none.>"}).Draw(t, "pattern")
				since := rapid.Uint64Range(0, last+2).Draw(t, "since")
				history.check(t, f, pattern, since)
				if since < history.floor || since > last {
					gone++
				} else {
					told++
				}
			},
		})
	})
	if told == 0 || gone == 0 {
		t.Errorf("%d answers and %d refusals", told, gone)
	}
}

// TestSinceHammer follows a state by asking again and again while it changes, with a
// ring that is now and then too short, and is replaced now and then, and compares what comes of it with the state
// at that revision, which depends on the revision alone.
func TestSinceHammer(t *testing.T) {
	const last, keys, restores = 20_000, 50, 997 // a restore at each of these
	command := func(revision uint64) Command {
		key := fmt.Sprintf("k.%d", revision*2654435761%keys)
		if revision%3 == 0 {
			return del(key) // which may not be there
		}
		return put(key, fmt.Sprint(revision))
	}
	states := make([]map[string]uint64, last+1)
	states[1] = map[string]uint64{}
	for revision := uint64(2); revision <= last; revision++ {
		c := command(revision)
		states[revision] = maps.Clone(states[revision-1])
		switch {
		case revision%restores == 0:
		case c.Op == CommandDelete:
			delete(states[revision], c.Key)
		default:
			states[revision][c.Key] = revision
		}
	}
	ring, err := fanout.NewRing(fanout.RingOptions{Slots: 64})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{FSM: newFSM(Options{Ring: ring}, limits{256, 4}), ring: ring}
	m.init()
	filter := filterOf(t, "k.*")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			at, state := uint64(1), map[string]uint64{}
			for at < last {
				changes, err := m.Since(filter, at)
				if errors.Is(err, ErrGone) {
					l := m.List(filter)
					at = l.Revision
					clear(state)
					for e := range l.Entries() {
						state[e.Key] = e.Revision
					}
					continue
				}
				if err != nil || changes.Revision < at {
					t.Errorf("since %d: through %d, %v", at, changes.Revision, err)
					return
				}
				for c := range changes.All() {
					if c.Op == fanout.Put {
						state[c.Key] = c.Revision
					} else {
						delete(state, c.Key)
					}
				}
				if at = changes.Revision; !maps.Equal(state, states[at]) {
					t.Errorf("at revision %d it is %v, want %v", at, state, states[at])
					return
				}
			}
		})
	}
	for revision := uint64(2); revision <= last; revision++ {
		if revision%restores > 0 {
			m.do(command(revision))
			continue
		}
		m.last++
		b := m.Backup()
		if err := b.MoveTo(testCluster, revision); err != nil {
			t.Error(err)
		}
		if err := restore(m.FSM, backupOf(t, b)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// TestSinceCostsWhatChanged: of many keys one has changed, and no other is looked at.
func TestSinceCostsWhatChanged(t *testing.T) {
	m := newMachine(t, 4)
	m.init()
	for i := range 1000 {
		m.do(put(fmt.Sprint("old", i), ""))
	}
	since := m.last
	m.do(put("new", "1"))
	era := m.store.entries.era
	if c, told, err := m.recent(filterOf(t, ">"), m.last); err != nil || !told || c.Revision != m.last || len(slices.Collect(c.All())) != 0 {
		t.Errorf("nothing has changed: %v, %v", told, err)
	}
	if m.store.entries.era != era {
		t.Error("the state was copied though nothing has changed")
	}
	c, told, err := m.recent(filterOf(t, ">"), since)
	if err != nil || !told {
		t.Fatalf("the ring is not asked: %v, %v", told, err)
	}
	if got := slices.Collect(c.All()); len(got) != 1 || got[0].Key != "new" {
		t.Errorf("changes are %+v", got)
	}
}

// TestSinceAwaitsEvents: once a revision is there to be read, so are its changes,
// though their events come into the ring a moment later.
func TestSinceAwaitsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 4)
		m.init()
		since := m.last
		// As ApplyBatch goes, stopped before the flush.
		m.mu.Lock()
		events, _ := m.store.apply(logOf(since+1, put("k", "v")), nil)
		m.ring.Push(events[0])
		m.batch++
		m.mu.Unlock()

		var changes Changes
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			changes, err = m.Since(filterOf(t, ">"), since)
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatalf("through %d, %v, before the event is there", changes.Revision, err)
		default:
		}
		m.ring.Flush()
		m.told.Store(m.batch)
		m.applied.ring()
		<-done
		if got := slices.Collect(changes.All()); err != nil || changes.Revision != since+1 || len(got) != 1 {
			t.Errorf("changes are %+v through %d, %v", got, changes.Revision, err)
		}
	})
}

// TestChangesStay: what was answered is of its revision, whatever is applied while it
// is taken.
func TestChangesStay(t *testing.T) {
	for _, slots := range []int{0, 2, 64} {
		var o Options
		if slots > 0 {
			o.Ring, _ = fanout.NewRing(fanout.RingOptions{Slots: slots})
		}
		m := &machine{FSM: newFSM(o, limits{8, 8})}
		m.init()
		m.do(put("a", "1"))
		m.do(put("b", "2").ttl(time.Minute).when(1))
		m.do(put("c", "3"))
		m.do(del("c"))
		c, err := m.Since(filterOf(t, ">"), 1)
		if err != nil || c.Revision != 5 {
			t.Fatalf("through %d, %v", c.Revision, err)
		}
		m.do(del("a"))
		m.do(put("b", "later"))
		m.do(put("c", "again"))
		var got []string
		for c := range c.All() {
			got = append(got, fmt.Sprintf("%v %s=%s@%d %d", c.Op, c.Key, c.Value, c.Revision, c.Expires))
			break // and go on
		}
		for c := range c.All() {
			got = append(got, fmt.Sprintf("%v %s=%s@%d %d", c.Op, c.Key, c.Value, c.Revision, c.Expires))
		}
		slices.Sort(got)
		want := []string{"delete c=@5 0", "put a=1@2 0", "put b=2@3 60000000001"}
		if !slices.Equal(got, want) {
			t.Errorf("with %d slots: %q, want %q", slots, got, want)
		}
	}
}

// TestFloorOfAnOlderSnapshot: one of a program that knew no floor tells nothing of
// the time before it.
func TestFloorOfAnOlderSnapshot(t *testing.T) {
	var out bytes.Buffer
	w := newSnapshotWriter(&out)
	w.magic()
	w.record(recordHeader, func(dst []byte) []byte {
		dst = appendUint(dst, headerRevision, 9)
		dst = appendUint(dst, headerDeletes, 0)
		dst = appendBytes(dst, headerClusterID, testCluster.ID)
		return appendUint(dst, headerMaxValue, uint64(testCluster.MaxValueBytes))
	})
	w.record(recordTrailer, func(dst []byte) []byte {
		return appendUint(appendUint(appendUint(dst, trailerEntries, 0), trailerTombstones, 0), trailerRequests, 0)
	})
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, 4)
	if err := restore(m.FSM, out.Bytes()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Since(filterOf(t, ">"), 8); !errors.Is(err, ErrGone) {
		t.Errorf("since 8: %v", err)
	}
	m.last = 9
	m.do(put("k", ""))
	c, err := m.Since(filterOf(t, ">"), 9)
	if err != nil || len(slices.Collect(c.All())) != 1 {
		t.Errorf("since 9: %v", err)
	}
	if got := snapshotOf(t, m.FSM); !strings.Contains(string(got), string(appendUint(nil, headerFloor, 9))) {
		t.Errorf("the next snapshot has lost the floor: %x", got)
	}
}
