package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
)

// filledMachine has n keys of 20 bytes with values of 100.
func filledMachine(b *testing.B, n int) *machine {
	m := newMachine(b, keptTombstones)
	m.do(Command{Op: CommandInit, Cluster: Cluster{ID: "bench", MaxValueBytes: 1 << 20}})
	for i := range n {
		m.do(benchPut(i))
	}
	return m
}

func benchPut(i int) Command {
	return Command{Op: CommandPut, Key: fmt.Sprintf("services/key-%07d", i), Value: make([]byte, 100)}
}

// BenchmarkApplyBatch applies batches of 64 puts of random keys out of 100,000.
func BenchmarkApplyBatch(b *testing.B) {
	const keys, size = 100_000, 64
	m := filledMachine(b, keys)
	random := rand.New(rand.NewPCG(1, 2))
	commands := make([][]byte, keys)
	for i := range commands {
		commands[i] = benchPut(random.IntN(keys)).Append(nil)
	}
	logs := make([]*raft.Log, size)
	for i := range logs {
		logs[i] = &raft.Log{AppendedAt: timeAt(1)}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for _, l := range logs {
			m.last++
			l.Index, l.Data = m.last, commands[n%keys]
			n++
		}
		m.ApplyBatch(logs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/put")
}

// BenchmarkSnapshot captures the state with all the tombstones it can have: the
// time for which applies stand still.
func BenchmarkSnapshot(b *testing.B) {
	m := filledMachine(b, 100_000+keptTombstones)
	for i := range keptTombstones {
		m.do(del(benchPut(i).Key))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Snapshot(); err != nil {
			b.Fatal(err)
		}
	}
}
