package node

import (
	"errors"
	"fmt"
	"slices"
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
// leader's entries follow on, and entries of no term, which they replace. Until then the
// node votes for nobody; see [abstaining].
//
// It also finds the one that the snapshot ends with while the log begins behind that: the
// next leader's entries may take the place of all that is there. Without it that leader would
// send a snapshot, which may be an older one.
type coveredLog struct {
	raft.LogStore
	snapshots *standing

	mu   sync.Mutex
	gone raft.Log // the end that Raft believes in, of a log that is empty; of index 0 when it is not
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
	list, more := c.snapshots.List()
	if more != nil || len(list) == 0 || index < list[0].Index {
		return err
	}
	first, more := c.LogStore.FirstIndex()
	switch base := list[0]; { // the newest one is the first
	case more != nil:
		return err
	case first == 0 && index <= max(c.end().Index, c.snapshots.reached()):
	case first == index+1 && index == base.Index:
	default:
		return err
	}
	*l = raft.Log{Index: index}
	if index == list[0].Index {
		l.Term = list[0].Term
	}
	return nil
}

// StoreLog implements [raft.LogStore].
func (c *coveredLog) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements [raft.LogStore]. Raft would begin a log below the snapshot that it stands
// on, where the leader has all entries from the first one on: what is applied would not be theirs.
func (c *coveredLog) StoreLogs(logs []*raft.Log) error {
	if last, err := c.LogStore.LastIndex(); err != nil {
		return err
	} else if last == 0 {
		list, err := c.snapshots.List()
		if err != nil {
			return err
		}
		if len(list) > 0 && !slices.ContainsFunc(list, func(m *raft.SnapshotMeta) bool { return m.Index+1 == logs[0].Index }) {
			return fmt.Errorf("node: entry %d does not follow on snapshot %s", logs[0].Index, list[0].ID)
		}
	}
	err := c.snapshots.store(logs, func() error { return c.LogStore.StoreLogs(logs) })
	if err == nil {
		c.setGone(raft.Log{})
	}
	return err
}

// DeleteRange implements [raft.LogStore]. Of a log that is empty there is nothing to delete.
func (c *coveredLog) DeleteRange(from, to uint64) error {
	last, err := c.LogStore.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	var end raft.Log
	if err := c.LogStore.GetLog(last, &end); err != nil {
		return err
	}
	if err := c.LogStore.DeleteRange(from, to); err != nil {
		return err
	}
	left, err := c.LogStore.LastIndex()
	if err == nil && left == 0 {
		c.setGone(raft.Log{Index: end.Index, Term: end.Term})
	}
	return err
}

// bringToEnd changes what entries from a leader follow on, where that is at the end which Raft
// believes in of a log that is empty: Raft compares with that end, and does not look into the
// log. There is nothing, also where the leader has the same, unless a snapshot ends there.
func (c *coveredLog) bringToEnd(r *raft.AppendEntriesRequest) {
	end := c.end()
	if end.Index == 0 || r.PrevLogEntry != end.Index {
		return
	}
	list, err := c.snapshots.List()
	if err == nil && len(list) > 0 && list[0].Index == r.PrevLogEntry && list[0].Term == r.PrevLogTerm {
		r.PrevLogTerm = end.Term
		return
	}
	r.PrevLogTerm = 0
}

// believed reports whether Raft believes in an end of the log that is neither there nor in the
// newest snapshot.
func (c *coveredLog) believed() bool {
	end := c.end()
	if end.Index == 0 {
		return false
	}
	list, err := c.snapshots.List()
	if err != nil || len(list) == 0 {
		return true
	}
	covered := list[0].Index == end.Index && list[0].Term == end.Term || list[0].Index > end.Index
	return !covered
}

// end returns the one that Raft believes in of an empty log; of index 0 if it is not empty.
func (c *coveredLog) end() raft.Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

func (c *coveredLog) setGone(end raft.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = end
}
