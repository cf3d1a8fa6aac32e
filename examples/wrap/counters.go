package main

import (
	"encoding/json"
	"io"
	"maps"
	"sync"

	"github.com/hashicorp/raft"
)

// counters is an ordinary replicated state machine: an entry is a name, which it
// counts. There is nothing of Watchcast in this file.
type counters struct {
	mu     sync.Mutex
	counts map[string]int
}

func newCounters() *counters { return &counters{counts: make(map[string]int)} }

// Apply returns the new count.
func (c *counters) Apply(l *raft.Log) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[string(l.Data)]++
	return c.counts[string(l.Data)]
}

func (c *counters) Snapshot() (raft.FSMSnapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return snapshot(maps.Clone(c.counts)), nil
}

func (c *counters) Restore(r io.ReadCloser) error {
	counts := make(map[string]int)
	if err := json.NewDecoder(r).Decode(&counts); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts = counts
	return nil
}

type snapshot map[string]int

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(s); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func (snapshot) Release() {}
