package node

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// countedLog counts what is read from it.
type countedLog struct {
	*raft.InmemStore
	read map[uint64]int
}

func (c *countedLog) GetLog(index uint64, l *raft.Log) error {
	c.read[index]++
	return c.InmemStore.GetLog(index, l)
}

// TestRecentLog has an entry that was just stored read from memory, and a long one,
// with what was stored beside it, from the file.
func TestRecentLog(t *testing.T) {
	store := &countedLog{raft.NewInmemStore(), make(map[uint64]int)}
	log, err := newRecentLog(store)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(index uint64, size int) *raft.Log {
		return &raft.Log{Index: index, Term: 1, Data: make([]byte, size)}
	}
	for _, logs := range [][]*raft.Log{{entry(1, 100), entry(2, recentBytes)}, {entry(3, 100), entry(4, recentBytes+1)}} {
		if err := log.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.StoreLog(entry(5, recentBytes+1)); err != nil {
		t.Fatal(err)
	}
	for index := uint64(1); index <= 5; index++ {
		var l raft.Log
		if err := log.GetLog(index, &l); err != nil || l.Index != index {
			t.Errorf("entry %d: index %d, %v", index, l.Index, err)
		}
		if want := index >= 3; (store.read[index] > 0) != want {
			t.Errorf("entry %d was read from the file %d times; want that it is: %v", index, store.read[index], want)
		}
	}
}

// TestRecentLogModel compares the log with a slice: what is read is what was stored last.
func TestRecentLogModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log, err := newRecentLog(raft.NewInmemStore())
		if err != nil {
			t.Fatal(err)
		}
		var want []*raft.Log // from first on
		first, stored := uint64(1), 0
		t.Repeat(map[string]func(*rapid.T){
			"store": func(t *rapid.T) {
				var logs []*raft.Log
				for range rapid.SampledFrom([]int{1, 3, recentEntries}).Draw(t, "entries") {
					stored++
					data := fmt.Append(nil, stored)
					if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
						data = append(data, make([]byte, recentBytes)...)
					}
					logs = append(logs, &raft.Log{Index: first + uint64(len(want)+len(logs)), Term: 1, Data: data})
				}
				if err := log.StoreLogs(logs); err != nil {
					t.Fatal(err)
				}
				want = append(want, logs...)
			},
			"cut the end": func(t *rapid.T) {
				n := rapid.IntRange(0, len(want)).Draw(t, "left")
				if n == len(want) {
					return
				}
				if err := log.DeleteRange(first+uint64(n), first+uint64(len(want))-1); err != nil {
					t.Fatal(err)
				}
				want = slices.Clone(want[:n])
			},
			"cut the beginning": func(t *rapid.T) {
				n := rapid.IntRange(0, len(want)).Draw(t, "gone")
				if n == 0 {
					return
				}
				if err := log.DeleteRange(first, first+uint64(n)-1); err != nil {
					t.Fatal(err)
				}
				first += uint64(n)
				want = want[n:]
			},
			"": func(t *rapid.T) {
				for range min(len(want), 20) {
					i := rapid.IntRange(0, len(want)-1).Draw(t, "read")
					var l raft.Log
					if err := log.GetLog(first+uint64(i), &l); err != nil || l.Index != first+uint64(i) || !bytes.Equal(l.Data, want[i].Data) {
						t.Fatalf("entry %d is %q, %v; want %.20q", first+uint64(i), l.Data, err, want[i].Data)
					}
				}
			},
		})
	})
}
