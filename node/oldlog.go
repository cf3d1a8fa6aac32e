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
// A snapshot that cannot be read replaces nothing.
func dropOldLog(logs raft.LogStore, snapshots raft.SnapshotStore, newest *raft.SnapshotMeta) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil || last == 0 || last >= newest.Index {
		return err
	}
	if err := checkSnapshot(snapshots, newest.ID); err != nil {
		return nil // Raft says what is wrong, and may have an older one
	}
	if err := logs.DeleteRange(first, last); err != nil {
		return fmt.Errorf("drop entries %d to %d, which snapshot %s replaces: %w", first, last, newest.ID, err)
	}
	return nil
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
