package fsm

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// TestReplicasAgree applies one log to two replicas. One takes it entry by
// entry, the other in batches of any size, and is replaced by one restored from
// its snapshot at any point. They must answer alike and write the same snapshot.
func TestReplicasAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keep := rapid.IntRange(1, 4).Draw(rt, "keep")
		log := drawLog(rt)
		one, two := newMachine(t, keep), newMachine(t, keep)
		for rest := log; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "batch")
			got := two.ApplyBatch(rest[:n])
			for i, l := range rest[:n] {
				if want := one.Apply(l); !sameResponse(want, got[i]) {
					rt.Fatalf("entry %d: %+v and %+v", l.Index, want, got[i])
				}
			}
			if rapid.Bool().Draw(rt, "restore") {
				fresh := newMachine(t, keep)
				if err := restore(fresh.FSM, snapshotOf(t, two.FSM)); err != nil {
					rt.Fatal(err)
				}
				two = fresh
			}
			rest = rest[n:]
		}
		if a, b := snapshotOf(t, one.FSM), snapshotOf(t, two.FSM); !bytes.Equal(a, b) {
			rt.Fatalf("snapshots differ:\n%x\n%x", a, b)
		}
	})
}

func drawLog(t *rapid.T) []*raft.Log {
	some := &model{time: time.Hour}
	entry := rapid.Custom(func(t *rapid.T) *raft.Log {
		switch rapid.IntRange(0, 9).Draw(t, "entry") {
		case 0:
			return &raft.Log{Type: raft.LogConfiguration}
		case 1:
			return &raft.Log{Data: rapid.SliceOf(rapid.Byte()).Draw(t, "garbage")}
		case 2:
			return &raft.Log{Data: commandGenerator().Draw(t, "any").Append(nil)}
		}
		return &raft.Log{Data: drawChange(t, some).Append(nil)}
	})
	log := rapid.SliceOfN(entry, 1, 60).Draw(t, "log")
	if rapid.IntRange(0, 9).Draw(t, "init") > 0 {
		log = append([]*raft.Log{{Data: Command{Op: CommandInit, Cluster: testCluster}.Append(nil)}}, log...)
	}
	index := uint64(0)
	for _, l := range log {
		index += rapid.Uint64Range(1, 3).Draw(t, "step")
		l.Index, l.Term, l.AppendedAt = index, testTerm, timeAt(index)
	}
	return log
}

func sameResponse(a, b any) bool {
	x, ok := a.(Result)
	y, _ := b.(Result)
	if !ok {
		return a == nil && b == nil
	}
	same := (x.Err == nil) == (y.Err == nil) && (x.Err == nil || x.Err.Error() == y.Err.Error())
	return same && x.Revision == y.Revision && x.PrevRevision == y.PrevRevision
}
