package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// compaction is the state machine as Raft sees it, and decides when a snapshot takes the
// place of the log: once the log behind the newest one weighs as much as MaxLogBytes, or
// twice that snapshot, whichever is more. So the log is bounded on the disk, a start after a
// crash is bounded in time, and snapshots cost half a byte for each byte of log at most. See
// ADR 20.
//
// Raft's own rule stays beside it: after 8,192 entries, looked at every two to four minutes.
type compaction struct {
	raft.BatchingFSM
	revision func() uint64 // of the state machine
	// recorded waits until a crash would not have events up to a revision announced as
	// lost, because a start from a snapshot has none of them any more. See [Node.recorded].
	recorded func(revision uint64)
	least    int64
	due      chan struct{} // one slot

	mu      sync.Mutex
	weight  int64 // of the log behind the newest snapshot
	entries int64 // how many these are
	size    int64 // of the newest snapshot, in bytes
	next    int64 // weight at which a snapshot is due
}

const (
	// entryWeight is what an entry weighs beside its content: that is what it takes in the
	// log and, as bytes go, to apply again.
	entryWeight = 256

	leastTrailing = 128 // entries kept behind a snapshot for nodes that lag
	leastLog      = 1 << 20

	recordPatience = 10 * time.Second
	recordPoll     = 50 * time.Millisecond
)

func newCompaction(machine raft.BatchingFSM, least int64, revision func() uint64, recorded func(uint64)) *compaction {
	return &compaction{BatchingFSM: machine, revision: revision, recorded: recorded, least: least, next: least, due: make(chan struct{}, 1)}
}

// ApplyBatch implements [raft.BatchingFSM].
func (c *compaction) ApplyBatch(logs []*raft.Log) []any {
	results := c.BatchingFSM.ApplyBatch(logs)
	weight := int64(len(logs)) * entryWeight
	for _, l := range logs {
		weight += int64(len(l.Data) + len(l.Extensions))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.weight += weight
	c.entries += int64(len(logs))
	if c.weight >= c.next {
		c.next = c.weight + c.limit() // if this one fails, not before
		select {
		case c.due <- struct{}{}:
		default:
		}
	}
	return results
}

// limit is how much log there may be behind the newest snapshot.
func (c *compaction) limit() int64 { return max(c.least, 2*c.size) }

func (c *compaction) logSize() LogSize {
	c.mu.Lock()
	defer c.mu.Unlock()
	return LogSize{Weight: c.weight, Limit: c.limit(), Snapshot: c.size}
}

// replaced notes that a snapshot has taken the place of so much of the log.
func (c *compaction) replaced(weight, entries, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.weight = max(c.weight-weight, 0) // a state that was restored meanwhile has no log behind it
	c.entries = max(c.entries-entries, 0)
	c.size = size
	c.next = c.limit()
}

// Snapshot implements [raft.FSM].
func (c *compaction) Snapshot() (raft.FSMSnapshot, error) {
	s, err := c.BatchingFSM.Snapshot()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &weighedSnapshot{s, c, c.revision(), c.weight, c.entries}, nil
}

// Restore implements [raft.FSM].
func (c *compaction) Restore(in io.ReadCloser) error {
	counted := &countingReader{ReadCloser: in}
	if err := c.BatchingFSM.Restore(counted); err != nil {
		return err
	}
	c.mu.Lock()
	weight, entries := c.weight, c.entries
	c.mu.Unlock()
	c.replaced(weight, entries, counted.n)
	return nil
}

// trailing returns how many entries to keep behind a snapshot, for nodes that lag: as many
// as weigh half of what the log may.
func (c *compaction) trailing() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == 0 {
		return leastTrailing
	}
	average := max(c.weight/c.entries, 1)
	return uint64(max(c.least/2/average, leastTrailing))
}

// weighedSnapshot knows how much of the log it takes the place of.
type weighedSnapshot struct {
	raft.FSMSnapshot
	compaction      *compaction
	revision        uint64
	weight, entries int64
}

// Persist implements [raft.FSMSnapshot].
func (s *weighedSnapshot) Persist(sink raft.SnapshotSink) error {
	counted := &countingSink{SnapshotSink: sink, before: func() { s.compaction.recorded(s.revision) }}
	if err := s.FSMSnapshot.Persist(counted); err != nil {
		return err
	}
	s.compaction.replaced(s.weight, s.entries, counted.n)
	return nil
}

// countingSink counts what is written, and has something happen before it counts as whole.
type countingSink struct {
	raft.SnapshotSink
	before func()
	n      int64
}

func (s *countingSink) Write(b []byte) (int, error) {
	n, err := s.SnapshotSink.Write(b)
	s.n += int64(n)
	return n, err
}

func (s *countingSink) Close() error {
	s.before()
	return s.SnapshotSink.Close()
}

type countingReader struct {
	io.ReadCloser
	n int64
}

func (r *countingReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.n += int64(n)
	return n, err
}

// compact takes the snapshots that are due.
func (n *Node) compact(ctx context.Context) {
	for {
		select {
		case <-n.compaction.due:
		case <-ctx.Done():
			return
		}
		err := n.consensus.compact(n.compaction.trailing())
		if err != nil && ctx.Err() == nil {
			n.repeats.log(n.log, slog.LevelWarn, "compaction", "the Raft log goes on growing; it is tried again when it has grown as much again", "error", err)
		}
	}
}

// compact has a snapshot take the place of the log, but for so many entries.
func (n *consensus) compact(trailing uint64) error {
	conf := n.raft.ReloadableConfig()
	conf.TrailingLogs = trailing
	if err := n.raft.ReloadConfig(conf); err != nil {
		return err
	}
	if err := n.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return err
	}
	return nil
}

// recorded waits until the record of what was announced covers a revision, and is on the
// disk; not for ever, for there may be no leader, and not while the node closes, which
// sees to the record by itself.
func (n *Node) recorded(revision uint64) {
	if n.dir == nil {
		return
	}
	patience := time.NewTimer(recordPatience)
	defer patience.Stop()
	tick := time.NewTicker(recordPoll)
	defer tick.Stop()
	for {
		if known, _ := n.announced.get(); known.Revision >= revision {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-n.leaving.Done():
		case <-patience.C:
		}
		return
	}
	n.saveAnnounced(true)
}
