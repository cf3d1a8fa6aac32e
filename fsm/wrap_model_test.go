package fsm

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// TestWrapModel drives a machine with and without a watch through the same entries,
// batches and snapshots. Results and states must be the same; and the events must
// be those of a model that keeps what the owner's function told, unless it
// misbehaved.
func TestWrapModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wrapModel{
			bare: &batches{ledger: newLedger()}, inner: &batches{ledger: newLedger()},
			ring: newRing(t), misbehaves: make(map[uint64]bool), known: make(map[string]uint64),
		}
		m.f = wrap(m.inner, newAnnouncer(m.changes, WrapOptions{Ring: m.ring}, 1000))
		m.reader = m.ring.Cursor(0)
		defer m.reader.Close()
		t.Repeat(map[string]func(*rapid.T){
			"batch":   m.batch,
			"restore": m.restore,
			"": func(t *rapid.T) {
				wantLines(t, lines(m.reader.Poll(make([]*fanout.Event, 0, 1024))), m.want...)
				m.want = nil
				if a, b := stateOf(t, m.bare), stateOf(t, m.f); a != b {
					t.Fatalf("with a watch the state is %s, without one %s", b, a)
				}
			},
		})
	})
}

type wrapModel struct {
	bare, inner *batches
	f           raft.FSM // around inner
	ring        *fanout.Ring
	reader      *fanout.Cursor

	last       uint64 // index
	announced  uint64
	replaced   bool
	misbehaves map[uint64]bool
	known      map[string]uint64
	want       []string
}

// changes is the owner's function.
func (m *wrapModel) changes(l *raft.Log, result any) []Change {
	changes := postings(l, result)
	if m.misbehaves[l.Index] {
		if len(changes) == 0 {
			panic("nothing")
		}
		return append(changes, changes[0])
	}
	return changes
}

func (m *wrapModel) batch(t *rapid.T) {
	var logs []*raft.Log
	for range rapid.IntRange(1, 5).Draw(t, "entries") {
		m.last += uint64(rapid.IntRange(1, 3).Draw(t, "step")) // Raft keeps some to itself
		l := entry(m.last, rapid.StringMatching(`((a|b|c)=[1-3]|-(a|b|c)|x)?( (d|e)=[1-3])?`).Draw(t, "words"))
		if rapid.IntRange(0, 9).Draw(t, "configuration") == 0 {
			l.Type = raft.LogConfiguration
		}
		m.misbehaves[m.last] = rapid.IntRange(0, 4).Draw(t, "misbehaves") == 0
		logs = append(logs, l)
	}
	want := m.bare.ApplyBatch(logs)
	var got []any
	if rapid.Bool().Draw(t, "whole") {
		got = m.f.(raft.BatchingFSM).ApplyBatch(logs)
	} else {
		for _, l := range logs {
			got = append(got, m.f.(raft.BatchingFSM).ApplyBatch([]*raft.Log{l})...)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("with a watch the results are %v, without one %v", got, want)
	}
	for i, l := range logs {
		m.expect(l, want[i])
	}
}

// expect adds the events of an entry.
func (m *wrapModel) expect(l *raft.Log, result any) {
	if m.replaced && l.Index-1 > m.announced {
		m.want = append(m.want, fmt.Sprintf("%d reset", l.Index-1))
	}
	m.replaced, m.announced = false, l.Index
	if l.Type != raft.LogCommand {
		return
	}
	if m.misbehaves[l.Index] {
		m.want = append(m.want, fmt.Sprintf("%d lagged from %[1]d", l.Index))
		clear(m.known)
		return
	}
	list, _ := result.([]posting)
	for i, p := range list {
		op := fanout.Put
		if p.deleted {
			op = fanout.Delete
		}
		e := fmt.Sprintf("%d %v %s=%s was %q of %d", l.Index, op, p.key, p.value, p.before, m.known[p.key])
		if len(list) > 1 {
			e += fmt.Sprintf(", %d of %d", i, len(list))
		}
		m.want = append(m.want, e)
		m.known[p.key] = l.Index
	}
}

func (m *wrapModel) restore(t *rapid.T) {
	snapshot := rapid.SampledFrom([]string{`{}`, `{"a":"1","d":"2"}`, `{"a`}).Draw(t, "snapshot")
	errBare := m.bare.Restore(io.NopCloser(strings.NewReader(snapshot)))
	err := m.f.Restore(io.NopCloser(strings.NewReader(snapshot)))
	if fmt.Sprint(err) != fmt.Sprint(errBare) {
		t.Fatalf("with a watch the error is %v, without one %v", err, errBare)
	}
	if err != nil {
		// What follows is for TestWrapRestoreFails: here Raft finds another one.
		m.restore(t)
		return
	}
	m.last += uint64(rapid.IntRange(1, 3).Draw(t, "step")) // where the snapshot stands
	m.announced++
	m.replaced = true
	clear(m.known)
	m.want = append(m.want, fmt.Sprintf("%d reset", m.announced))
}

// stateOf is a machine's snapshot.
func stateOf(t tester, f raft.FSM) string {
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return string(persisted(t, s))
}

// TestRevisionsModel: of the keys that changed last the revision is known, and what
// is not known is 0.
func TestRevisionsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keep := rapid.IntRange(1, 8).Draw(t, "keep")
		r, truth, order := revisions{keep: keep}, make(map[string]uint64), []string(nil)
		for i, n := range rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "keys") {
			if n == 20 {
				r.forget()
				clear(truth)
				order = nil
				continue
			}
			key, others := fmt.Sprint(n), make(map[string]bool)
			for j := len(order) - 1; j >= 0 && order[j] != key; j-- {
				others[order[j]] = true
			}
			got := r.replace(key, uint64(i+1))
			if got != truth[key] && (got != 0 || len(others) < keep) {
				t.Fatalf("revision of %s is %d, want %d; %d others changed since, %d are kept", key, got, truth[key], len(others), keep)
			}
			truth[key] = uint64(i + 1)
			order = append(order, key)
			if len(r.young)+len(r.old) > 2*keep {
				t.Fatalf("%d keys are kept", len(r.young)+len(r.old))
			}
		}
	})
}
