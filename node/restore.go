package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
)

// Restored says what a restore has done.
type Restored struct {
	// Backup is what the backup was of.
	Backup fsm.BackupInfo
	// Cluster is the id of the cluster that has its keys now: the one that was
	// there, not the backup's.
	Cluster string
	// Revision is that of the cluster now. It is above all that were before, in the
	// cluster and in the backup; the keys have the revisions that they had in the
	// backup.
	Revision uint64
}

// lastRestorable leaves the indexes of the log room to grow.
const lastRestorable = 1 << 62

// Restore replaces the state of the whole cluster by the backup that it reads from
// in, of this cluster or of another, and returns when a majority of the nodes has it.
// The cluster keeps its id and the limit of its values. Watchers in every node receive
// Reset, NATS clients a _watch.reset.
//
// It works on the leader, else it fails with [ErrNotLeader]; it blocks as in does,
// and while there is no leader. One runs at a time. The backup is received and
// checked completely before anything is changed: a bad one is refused with
// [fsm.ErrCorruptSnapshot], one with a value that this cluster does not allow with
// [fsm.ErrValueTooLarge], one that is too long with [ErrBackupTooLarge]. From then on
// until the end, writes and linearizable reads are refused with [ErrRestoring], and
// the end of ctx does not end it.
//
// If leadership is lost after that, it waits until a majority has the backup all the
// same: for half a minute, and longer if it is large. Then, or if the node closes, the
// error is [ErrUnknownOutcome], and a node may have a state that the others do not have.
// Restore again on the leader; that makes all nodes the same. After any other error
// nothing was changed.
func (n *Node) Restore(ctx context.Context, in io.Reader) (Restored, error) {
	if _, err := n.lead(ctx); err != nil {
		return Restored{}, err
	}
	if !n.restoring.TryLock() {
		return Restored{}, ErrRestoring
	}
	defer n.restoring.Unlock()
	b, err := n.receive(ctx, in)
	if err != nil {
		return Restored{}, err
	}
	r, err := n.replace(ctx, b)
	if err != nil {
		return Restored{}, err
	}
	n.log.Info("restored a backup", "backup_cluster", r.Backup.Cluster.ID, "backup_revision", r.Backup.Revision,
		"keys", r.Backup.Keys, "cluster", r.Cluster, "revision", r.Revision)
	return r, nil
}

// receive reads a backup to its end and checks it.
func (n *Node) receive(ctx context.Context, in io.Reader) (b *fsm.Backup, err error) {
	ctx, cancel := n.untilClose(ctx)
	defer cancel()
	s, err := spooled(n.dir, &untilReader{ctx, in}, n.config.MaxRestoreBytes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if b, err = fsm.ReadBackup(&untilReader{ctx, s}); err != nil {
		return nil, err
	}
	if at := b.Info().Revision; at > lastRestorable {
		return nil, fmt.Errorf("%w: it stands at revision %d, which leaves no room for more", fsm.ErrCorruptSnapshot, at)
	}
	return b, nil
}

// replace makes the state of a backup that of the cluster.
func (n *Node) replace(ctx context.Context, b *fsm.Backup) (Restored, error) {
	into, _ := n.machine.Cluster() // who leads has it
	r := Restored{Backup: b.Info(), Cluster: into.ID}
	if err := b.MoveTo(into, r.Backup.Revision); err != nil {
		return Restored{}, err
	}
	if err := n.stayOpen(); err != nil {
		return Restored{}, err
	}
	defer n.waits.Done()
	if err := n.gate.close(ctx); err != nil {
		return Restored{}, fmt.Errorf("%w: writes are in the way: %w", ErrBusy, err)
	}
	defer n.gate.open()
	// What was handed to Raft before is answered when this is. And it shows that
	// there is a majority, before the state of this node is replaced.
	if err := n.consensus.barrier(); err != nil {
		return Restored{}, fmt.Errorf("%w: it does not lead any more: %w", ErrNotLeader, err)
	}
	// Above everything that any node has applied or the backup has, so that no
	// revision means two states, and nobody who waits for one waits for ever.
	r.Revision = max(r.Backup.Revision, n.consensus.raft.LastIndex()) + 1
	if err := b.MoveTo(into, r.Revision); err != nil {
		return Restored{}, err
	}
	if err := n.install(b, r.Revision, settleTime); err != nil {
		return Restored{}, err
	}
	if e, _ := n.currentEpoch(); e != nil {
		e.clock.set(n.machine.Time()) // a later epoch has begun with it
	}
	return r, nil
}

// How long a restore waits for a majority after leadership was lost in it.
const (
	settleTime  = 30 * time.Second
	settleForMB = 250 * time.Millisecond // and so much longer, for each MB of the backup
)

// install makes the state of a backup, which stands at revision, that of this node
// and then of the others. While these read it in, leadership may be lost for a moment:
// it has just asked much of everybody.
func (n *Node) install(b *fsm.Backup, revision uint64, settle time.Duration) error {
	size, err := b.WriteTo(io.Discard)
	if err != nil {
		return err
	}
	err = n.consensus.restore(b, revision, size)
	if err == nil || n.machine.Revision() < revision {
		return raftError(err)
	}
	ctx, cancel := context.WithTimeout(n.leaving, settle+time.Duration(size>>20)*settleForMB)
	defer cancel()
	for !n.consensus.holds(revision + 1) {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: the backup is restored on this node, but maybe not on the others; restore it again: %w", ErrUnknownOutcome, err)
		}
		if failed := n.Err(); failed != nil {
			return fmt.Errorf("%w: the backup is restored on this node, but maybe not on the others; restore it again: %w", ErrUnknownOutcome, failed)
		}
		pause(ctx, leaderPoll)
	}
	return nil
}

// restore has Raft replace its state machine's state here and everywhere, by a backup
// of size bytes. Raft panics if a state machine refuses a state, so it must be one that was checked.
func (n *consensus) restore(b *fsm.Backup, revision uint64, size int64) error {
	n.restoring.Lock()
	defer n.restoring.Unlock()
	in, out := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := b.WriteTo(out)
		out.CloseWithError(err)
	})
	// Raft takes the next index above this one and its own.
	err := n.raft.Restore(&raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: revision, Size: size}, in, 0)
	in.Close() // of one that was not read to its end
	wg.Wait()
	return err
}

// holds reports whether a majority has the snapshot that was restored here at index:
// an entry behind it is committed, whoever leads, and it has not been replaced by
// another leader's. A leader without it could have committed nothing here, because
// its entries do not follow on it.
func (n *consensus) holds(index uint64) bool {
	at := n.raft.Stats()["last_snapshot_index"]
	return at == strconv.FormatUint(index, 10) && n.raft.CommitIndex() > index
}
