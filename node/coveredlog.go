package node

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

// coveredLog is the log of a node that may be sent a snapshot which lies below its end: it
// has entries that were never committed, of an office that it lost, and the others go on
// from a backup. Raft drops the whole log then, but goes on believing in its old end: it
// would refuse what follows on the snapshot, because it does not find it, be sent the
// snapshot again, and so on until the next one lies above that end.
//
// So of what was dropped it finds the entry that the snapshot ends with, which the
// leader's entries follow on, and entries of no term, which they replace.
type coveredLog struct {
	raft.LogStore
	snapshots raft.SnapshotStore

	mu   sync.Mutex
	gone uint64 // the end that Raft believes in, of a log that is empty; 0 when it is not
}

// IsMonotonic implements [raft.MonotonicLogStore]: there must be no hole, so Raft drops what
// a snapshot replaces. A log in memory would keep an end that does not follow on it.
func (c *coveredLog) IsMonotonic() bool { return true }

// GetLog implements [raft.LogStore].
func (c *coveredLog) GetLog(index uint64, l *raft.Log) error {
	err := c.LogStore.GetLog(index, l)
	if !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if index > gone {
		return err
	}
	list, more := c.snapshots.List()
	if more != nil || len(list) == 0 || index < list[0].Index {
		return err
	}
	*l = raft.Log{Index: index}
	if index == list[0].Index { // the newest one is the first
		l.Term = list[0].Term
	}
	return nil
}

// StoreLog implements [raft.LogStore].
func (c *coveredLog) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements [raft.LogStore].
func (c *coveredLog) StoreLogs(logs []*raft.Log) error {
	err := c.LogStore.StoreLogs(logs)
	if err == nil {
		c.setGone(0)
	}
	return err
}

// DeleteRange implements [raft.LogStore]. Of a log that is empty there is nothing to delete.
func (c *coveredLog) DeleteRange(from, to uint64) error {
	last, err := c.LogStore.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	if err := c.LogStore.DeleteRange(from, to); err != nil {
		return err
	}
	left, err := c.LogStore.LastIndex()
	if err == nil && left == 0 {
		c.setGone(last)
	}
	return err
}

func (c *coveredLog) setGone(last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = last
}
