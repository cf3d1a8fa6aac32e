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
// crash is bounded in time, and of snapshots half a byte is written at most for each byte that
// the log weighs. See ADR 20.
//
// Raft's own rule stays beside it: after 8,192 entries, looked at every two to four minutes.
type compaction struct {
	raft.BatchingFSM
	revision func() uint64 // of the state machine
	over     func() error  // why no snapshot is finished any more, nil while one may be
	// recorded waits until a crash would not have events up to a revision announced as
	// lost, because a start from a snapshot has none of them any more; or until the
	// snapshot is void, or cannot be finished. See [Node.recorded].
	recorded func(revision uint64, void <-chan struct{}) error
	// restoring returns what to call once another state has come. See [standing.restoring].
	restoring func() (restored func(), err error)
	least     int64
	due       chan struct{} // one slot

	// noting is held from when a snapshot is about to be whole until Raft has noted that
	// it is, and while another state takes the place of this one. Raft would note the
	// older of the two last, and then send followers what it has not.
	noting sync.Mutex

	mu      sync.Mutex
	void    chan struct{} // closed when another state comes, and replaced
	weight  int64         // of the log behind the newest snapshot
	entries int64         // how many these are
	size    int64         // of the newest snapshot, in bytes
	next    int64         // weight at which a snapshot is due
}

const (
	// entryWeight is what an entry weighs beside its content: that is what it takes in the
	// log and, as bytes go, to apply again.
	entryWeight = 256

	leastTrailing = 128 // entries kept behind a snapshot for nodes that lag
	leastLog      = 1 << 20

	recordPatience = 10 * time.Second // unless tests say otherwise
	recordPoll     = 50 * time.Millisecond
)

func newCompaction(machine raft.BatchingFSM, least int64, revision func() uint64, over func() error, recorded func(uint64, <-chan struct{}) error, restoring func() (func(), error)) *compaction {
	return &compaction{BatchingFSM: machine, revision: revision, over: over, recorded: recorded, restoring: restoring, least: least, next: least, due: make(chan struct{}, 1), void: make(chan struct{})}
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

// replaced notes that a snapshot has taken the place of so much of the log. The caller
// holds the lock.
func (c *compaction) replaced(weight, entries, size int64) {
	c.weight -= weight
	c.entries -= entries
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
	return &weighedSnapshot{FSMSnapshot: s, compaction: c, void: c.void, revision: c.revision(), weight: c.weight, entries: c.entries}, nil
}

// Restore implements [raft.FSM].
func (c *compaction) Restore(in io.ReadCloser) error {
	c.mu.Lock()
	close(c.void)
	c.void = make(chan struct{})
	c.mu.Unlock()
	c.noting.Lock()
	defer c.noting.Unlock()
	restored, err := c.restoring()
	if err != nil {
		return err
	}
	counted := &countingReader{ReadCloser: in}
	if err := c.BatchingFSM.Restore(counted); err != nil {
		return err
	}
	restored()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replaced(c.weight, c.entries, counted.n)
	return nil
}

// isDue reports whether one is, still, when what is taking the place of the log has.
func (c *compaction) isDue() bool {
	c.noting.Lock()
	defer c.noting.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.weight >= c.limit()
}

// trailing returns how many entries to keep at the end of the log, for nodes that lag: as
// many as weigh half of what it may have at least.
func (c *compaction) trailing() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == 0 {
		return leastTrailing
	}
	average := max(c.weight/c.entries, 1)
	return uint64(max(c.least/2/average, leastTrailing))
}

// compact takes the snapshots that are due, that another node needs, or in the place of one that
// is damaged.
func (n *Node) compact(ctx context.Context) {
	var damaged replacing
	for {
		select {
		case <-n.consensus.known.found:
			n.replaceDamaged(&damaged)
			continue
		case <-damaged.again:
			n.replaceDamaged(&damaged)
			continue
		case <-n.compaction.due:
		case <-n.consensus.refused:
			n.sendSnapshot()
			continue
		case <-ctx.Done():
			return
		}
		if !n.compaction.isDue() { // Raft has taken one by its own rule
			continue
		}
		err := n.consensus.compact(n.compaction.trailing())
		if err != nil && !n.closing() && n.compaction.isDue() {
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

// sendSnapshot has Raft send a snapshot to a node that refuses the entries from the first one on.
// No node does that but one that has another state than they lead to: it has restored a backup
// alone. Raft would go on to send them for as long as it has the first one.
func (n *Node) sendSnapshot() {
	again, err := n.consensus.dropFirst(n.compaction.trailing())
	switch {
	case n.closing():
	case err != nil:
		n.repeats.log(n.log, slog.LevelWarn, "refused", "another node has restored a backup alone, and cannot follow before this one has taken a snapshot; it is tried again", "error", err)
	case again:
		n.log.Info("took a snapshot for another node, which has restored a backup alone")
	}
}

// dropFirst has a snapshot take the place of the first entry at least, if it is still there, and
// of all but so many.
func (n *consensus) dropFirst(trailing uint64) (dropped bool, err error) {
	first, err := n.logs.FirstIndex()
	if err != nil || first != 1 {
		return false, err
	}
	last, err := n.logs.LastIndex()
	if err != nil {
		return false, err
	}
	before := n.raft.ReloadableConfig()
	err = n.compact(min(trailing, last-1))
	return err == nil, errors.Join(err, n.raft.ReloadConfig(before))
}

// over says why this node finishes no snapshot any more: Raft does not end before it is done
// with one, and a large one takes long.
func (n *Node) over() error {
	if n.closing() {
		return ErrClosed
	}
	return n.Err()
}

// recorded waits until the record of what was announced covers a revision, and has it on
// the disk; not for ever, for there may be no leader. The error says why it will not: the
// node closes, another state has come, or the record cannot be written. Then the log stays
// as it is, and a start from it loses nothing.
func (n *Node) recorded(revision uint64, void <-chan struct{}) error {
	if n.dir == nil {
		return nil
	}
	patience := time.NewTimer(n.config.recordPatience)
	defer patience.Stop()
	tick := time.NewTicker(recordPoll)
	defer tick.Stop()
	for {
		if err := n.over(); err != nil {
			return err
		}
		if known, _ := n.announced.get(); known.Revision >= revision {
			return n.announced.save(n.dir.announced(), true)
		}
		select {
		case <-tick.C:
		case <-void:
			return errVoid
		case <-n.leaving.Done():
		case <-n.failure.done:
		case <-patience.C:
			return nil
		}
	}
}
