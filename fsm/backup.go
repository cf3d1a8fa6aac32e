package fsm

import (
	"fmt"
	"io"
)

// Backup is the state at one revision, in the format of the snapshots: of a state
// machine ([FSM.Backup]), or read from a file ([ReadBackup]). What it shares with a
// state machine, that does not change any more. One goroutine at a time may use it.
type Backup struct{ state *snapshot }

// BackupInfo says what a backup is of.
type BackupInfo struct {
	// Cluster holds the constants of the cluster that it was taken of; its ID is
	// empty before Init.
	Cluster Cluster
	// Revision is that of the last command in it.
	Revision uint64
	// Keys is how many keys there are.
	Keys int
}

// Backup captures the state as it is now. Any goroutine may call it; it waits for
// the batch that is being applied, and holds up the next one for as long as it takes
// to copy up to 200,000 pointers. What it holds stays in memory until it is dropped,
// also what is replaced or deleted meanwhile.
func (f *FSM) Backup() *Backup {
	s, _ := f.Snapshot() // has no error to return
	return &Backup{s.(*snapshot)}
}

// ReadBackup reads and checks a whole backup, which is then in memory. The error
// wraps [ErrCorruptSnapshot], or is that of in.
func ReadBackup(in io.Reader) (*Backup, error) {
	f := newFSM(Options{}, kept)
	if err := f.Restore(io.NopCloser(in)); err != nil {
		return nil, err
	}
	if err := leavesTime(f.store); err != nil {
		return nil, err
	}
	return f.Backup(), nil
}

// leavesTime refuses a state of which the cluster's time has hardly any room to go on:
// after a restore nothing with a stamp would be taken any more.
func leavesTime(s *store) error {
	if s.time > maxTime/2 {
		return fmt.Errorf("%w: the cluster's time in it is %d ns, which leaves no room for more", ErrCorruptSnapshot, s.time)
	}
	return nil
}

// CheckBackup checks a whole backup, as [ReadBackup] does, and keeps only its keys
// in memory meanwhile.
func CheckBackup(in io.Reader) (BackupInfo, error) {
	r := newSnapshotReader(in, kept)
	r.keysOnly = true
	s, err := r.whole()
	if err == nil {
		err = leavesTime(s)
	}
	if err != nil {
		return BackupInfo{}, err
	}
	return BackupInfo{Cluster: s.cluster, Revision: s.revision, Keys: s.entries.len()}, nil
}

// Info says what the backup is of.
func (b *Backup) Info() BackupInfo {
	return BackupInfo{Cluster: b.state.cluster, Revision: b.state.revision, Keys: b.state.entries.len()}
}

// WriteTo implements [io.WriterTo]. Beside the state it needs memory for one entry.
// What it writes ends in a checksum; so whoever reads can tell whether all of it
// came. Equal states make equal bytes. The error is that of out.
func (b *Backup) WriteTo(out io.Writer) (int64, error) {
	c := &countingWriter{out: out}
	if err := b.state.write(c); err != nil {
		return c.n, fmt.Errorf("fsm: write backup: %w", err)
	}
	return c.n, nil
}

// MoveTo makes the backup a state of another cluster, or of a later time, at a
// revision that is no lower than its own. Its keys keep the revisions of their last
// changes; what has changed since a lower one cannot be asked any more
// ([FSM.Since]). The error wraps [ErrValueTooLarge] if a value is longer than that cluster
// allows; then nothing was changed.
func (b *Backup) MoveTo(cluster Cluster, revision uint64) error {
	if own := b.state.revision; revision < own {
		return fmt.Errorf("fsm: a backup at revision %d cannot go back to revision %d", own, revision)
	}
	for e := range b.state.entries.all {
		if limit := cluster.MaxValueBytes; len(e.Value) > limit {
			return fmt.Errorf("%w: that of key %q in the backup has %d bytes; the limit of this cluster is %d", ErrValueTooLarge, e.Key, len(e.Value), limit)
		}
	}
	moved := *b.state
	moved.cluster, moved.revision = cluster, revision
	moved.floor = revision // what others changed before it is undone
	b.state = &moved
	return nil
}

// countingWriter counts what was written.
type countingWriter struct {
	out io.Writer
	n   int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	c.n += int64(n)
	return n, err
}
