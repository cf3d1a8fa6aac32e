package node

import (
	"context"
	"fmt"
	"io"

	"github.com/watchcast/watchcast/fsm"
)

// Backup writes the whole state to out, at one revision, and says which. The format
// is that of the snapshots; it ends in a checksum, and [fsm.CheckBackup] tells whether
// all of it is there. Writes go on meanwhile. The node needs memory for one entry, and
// for what is replaced or deleted before the end.
//
// Like a read it is linearizable unless told otherwise: it has every write that
// returned before the call, and on a node that does not lead it fails with
// [ErrNotLeader]. With [Stale] it is the state of this node. It blocks for as long as
// its [ReadOption] says and as out does. Between two writes to out, each of up to
// 64 KiB or a longer value, it looks whether ctx or the node has ended: the error is
// the cause of ctx, or [ErrClosed]. What was written by then is useless.
func (n *Node) Backup(ctx context.Context, out io.Writer, opts ...ReadOption) (fsm.BackupInfo, error) {
	b, err := n.capture(ctx, opts)
	if err != nil {
		return fsm.BackupInfo{}, err
	}
	return b.Info(), n.writeBackup(ctx, b, out)
}

// capture returns the state that a backup is to hold.
func (n *Node) capture(ctx context.Context, opts []ReadOption) (*fsm.Backup, error) {
	b, err := read(ctx, n, opts, func() (*fsm.Backup, error) { return n.machine.Backup(), nil })
	if err != nil {
		return nil, err
	}
	if b.Info().Cluster.ID == "" {
		return nil, fmt.Errorf("%w: it has applied nothing yet, so there is nothing to back up", ErrBehind)
	}
	return b, nil
}

func (n *Node) writeBackup(ctx context.Context, b *fsm.Backup, out io.Writer) error {
	ctx, cancel := n.untilClose(ctx)
	defer cancel()
	_, err := b.WriteTo(&untilWriter{ctx, out})
	return err
}

// untilClose returns a context that also ends, with [ErrClosed], when the node
// begins to close.
func (n *Node) untilClose(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(n.leaving, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// untilWriter fails when ctx has ended.
type untilWriter struct {
	ctx context.Context
	out io.Writer
}

func (w *untilWriter) Write(b []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.out.Write(b)
}

// untilReader fails when ctx has ended.
type untilReader struct {
	ctx context.Context
	in  io.Reader
}

func (r *untilReader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.in.Read(b)
}
