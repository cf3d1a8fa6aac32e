package node

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
)

// dropOldLog finishes what a crash cut short: a snapshot that lies above the whole
// log, restored by an operator or received from the leader, takes its place. Raft
// stores the one and then drops the other, and does not look again at a start; the
// log, in which there must be no hole, would take no entry any more.
//
// So it does where a log was begun behind an older snapshot, and the newest one was void for
// it, but still there; see [standing]. That log ends below the newest snapshot, or it made up
// for it, and the crash came before that was removed and the end of the log acknowledged.
//
// A snapshot that cannot be read replaces nothing.
func dropOldLog(logs raft.LogStore, snapshots raft.SnapshotStore, newest *raft.SnapshotMeta) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	if last >= newest.Index && !ofLaterTerm(logs, newest) {
		return nil
	}
	if err := checkSnapshot(snapshots, newest.ID); err != nil {
		return nil // Raft says what is wrong, and may have an older one
	}
	if err := logs.DeleteRange(first, last); err != nil {
		return fmt.Errorf("drop entries %d to %d, which snapshot %s replaces: %w", first, last, newest.ID, err)
	}
	return nil
}

// ofLaterTerm reports whether a log has entries of a later term where a snapshot ends. It looks
// at two, for a byte that flipped in one of them is no reason to drop the log.
func ofLaterTerm(logs raft.LogStore, s *raft.SnapshotMeta) bool {
	for _, index := range []uint64{s.Index - 1, s.Index} {
		var l raft.Log
		err := guard("log entry", func() error { return logs.GetLog(index, &l) })
		if err != nil || l.Term <= s.Term {
			return false
		}
	}
	return true
}

func checkSnapshot(snapshots raft.SnapshotStore, id string) (err error) {
	_, in, err := snapshots.Open(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	_, err = fsm.CheckBackup(in)
	return err
}
