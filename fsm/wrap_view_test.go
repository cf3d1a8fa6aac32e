package fsm

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/watchcast/watchcast/fanout"
)

// TestWrapView: whoever follows the changes, and reads again where he is told to, has what the
// machine has: whatever Raft restores, whatever the owner's function does, and wherever the log
// goes on.
func TestWrapView(t *testing.T) {
	resets, puts := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		misbehaves := false
		changes := func(l *raft.Log, result any) []Change {
			if misbehaves {
				panic("bad")
			}
			return postings(l, result)
		}
		inner, ring := newLedger(), newRing(t)
		machine := raft.FSM(inner)
		if rapid.Bool().Draw(t, "batching") {
			machine = &batches{ledger: inner}
		}
		f := wrap(machine, newAnnouncer(changes, WrapOptions{Ring: ring}, 4))
		reader := ring.Cursor(0)
		defer reader.Close()
		view, at, last, unknown := map[string]string{}, map[string]uint64{}, uint64(0), false
		t.Repeat(map[string]func(*rapid.T){
			"entries": func(t *rapid.T) {
				var logs []*raft.Log
				for range rapid.IntRange(1, 4).Draw(t, "entries") {
					last += uint64(rapid.IntRange(1, 2).Draw(t, "step"))
					logs = append(logs, entry(last, rapid.StringMatching(`((a|b|c)=[1-3]|-(a|b|c)|x)?( (d|e)=[1-3])?`).Draw(t, "words")))
				}
				misbehaves = rapid.IntRange(0, 9).Draw(t, "misbehaves") == 0
				if b, ok := f.(raft.BatchingFSM); ok {
					b.ApplyBatch(logs)
				} else {
					for _, l := range logs {
						f.Apply(l)
					}
				}
				unknown = false
			},
			"restore": func(t *rapid.T) {
				state := rapid.SampledFrom([]string{`{}`, `{"a":"1","d":"2"}`, `{"a":"3"}`, `{"a`}).Draw(t, "snapshot")
				err := f.Restore(io.NopCloser(strings.NewReader(state)))
				if unknown = err != nil; !unknown {
					last = uint64(max(0, int(last)+rapid.IntRange(-12, 3).Draw(t, "stands")))
				}
			},
			"": func(t *rapid.T) {
				for _, e := range reader.Poll(make([]*fanout.Event, 0, 1024)) {
					switch e.Op {
					case fanout.Lagged, fanout.Reset:
						resets++
						view = inner.state()
						clear(at)
					case fanout.Put:
						puts++
						view[e.Key] = string(e.Value)
					default:
						delete(view, e.Key)
					}
					if e.Control() {
						continue
					}
					if known := at[e.Key]; e.PrevRevision != 0 && e.PrevRevision != known && known != 0 || e.PrevRevision >= e.Revision {
						t.Fatalf("%s, and it changed last at %d", line(e), known)
					}
					at[e.Key] = e.Revision
				}
				if state := inner.state(); !unknown && !maps.Equal(view, state) {
					have, _ := json.Marshal(view)
					t.Fatalf("who follows has %s, and the machine %s", have, fmt.Sprint(state))
				}
			},
		})
	})
	if resets == 0 || puts == 0 {
		t.Errorf("%d resets and %d puts were seen", resets, puts)
	}
}
