package node

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// recentLog keeps the newest entries of the log in memory. A leader reads each entry
// again for each follower, and a follower to apply it; the log store reads 64 KiB from
// the file for that, however short the entry is.
//
// At most recentEntries × recentBytes, 8 MiB, are kept beside the log: longer entries,
// and what was stored with them, are read from the file.
type recentLog struct {
	*raft.LogCache
	store raft.LogStore
}

const (
	recentEntries = 2048
	recentBytes   = 4 << 10
)

func newRecentLog(store raft.LogStore) (*recentLog, error) {
	cache, err := raft.NewLogCache(recentEntries, store)
	if err != nil {
		return nil, fmt.Errorf("node: keep the newest log entries: %w", err)
	}
	return &recentLog{cache, store}, nil
}

// StoreLog implements [raft.LogStore].
func (r *recentLog) StoreLog(l *raft.Log) error { return r.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements [raft.LogStore]. What passes the cache by finds no older entry of
// its index there: the log refuses an index that it has, and a deletion empties the cache.
func (r *recentLog) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		if len(l.Data)+len(l.Extensions) > recentBytes {
			return r.store.StoreLogs(logs)
		}
	}
	return r.LogCache.StoreLogs(logs)
}
