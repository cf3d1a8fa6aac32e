package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/watchcast/watchcast/fsm"
)

const backupDescription = `Writes the whole state of a running cluster to FILE, at one revision, while writes go on. The node that is asked must lead, unless --stale takes what any node has.

FILE appears complete and checked, or not at all. A backup that is killed may leave a file beside it whose name ends in .part; delete it.

    node backup state.backup        of the node that runs here
    node restore state.backup       puts it back

--http can also be given in the environment, as WATCHCAST_HTTP.

Exit codes: 0 written, 1 not, with one line on standard error that says why, 2 wrong flags.`

type backupFlags struct {
	File      string `arg:"" placeholder:"FILE" help:"Where to write the backup."`
	httpFlags `embed:""`
	Stale     bool `env:"-" help:"Take what the node has, also if it does not lead; it may lack the newest changes."`
	Force     bool `env:"-" help:"Replace FILE if it exists."`
}

// How long a backup or a restore waits where nothing moves.
const (
	connectWait = 5 * time.Second
	stallWait   = time.Minute // for the next bytes, or for the node to begin
)

// backup is the command of that name.
func backup(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := &backupFlags{}
	code, done := parse(f, "node backup", backupDescription, args, stdout, stderr)
	if done {
		return code
	}
	info, size, err := f.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "node backup:", oneLine(err))
		return exitFailed
	}
	fmt.Fprintf(stdout, "%s: revision %d of cluster %s, %d keys, %d bytes\n", f.File, info.Revision, info.Cluster.ID, info.Keys, size)
	return exitOK
}

func (f *backupFlags) run(ctx context.Context) (info fsm.BackupInfo, size int64, err error) {
	if err := f.free(); err != nil {
		return info, 0, err
	}
	path := "/v1/backup"
	if f.Stale {
		path += "?stale"
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallWait, func() { cancel(errStalled) })
	defer stall.Stop()
	resp, err := f.ask(ctx, http.MethodGet, path)
	if err != nil {
		return info, 0, instead(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return info, 0, refusal(f.HTTP, resp)
	}
	info, size, err = f.write(&watched{resp.Body, stall})
	return info, size, instead(ctx, err)
}

var errNoName = errors.New("the name of the file is empty; give one")

// free returns an error if there is something that must not be replaced: a file, unless
// --force says so, and whatever is none, such as a device or a link to one.
func (f *backupFlags) free() error {
	if f.File == "" {
		return errNoName
	}
	info, err := os.Lstat(f.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory; give the name of a file in it", f.File)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file; give another name", f.File)
	case !f.Force:
		return fmt.Errorf("%s exists; give another name, or --force to replace it", f.File)
	}
	return nil
}

// write makes the file out of a backup. Until that is complete, on the disk and
// checked, it has another name.
func (f *backupFlags) write(in io.Reader) (info fsm.BackupInfo, size int64, err error) {
	dir := filepath.Dir(f.File)
	part, err := os.CreateTemp(dir, "."+filepath.Base(f.File)+".*.part")
	if err != nil {
		return info, 0, fmt.Errorf("cannot write there: %w", err)
	}
	defer func() {
		closed := part.Close()
		if err == nil {
			err = closed
		}
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	if size, err = io.Copy(part, in); err != nil {
		return info, size, fmt.Errorf("the backup broke off after %d bytes: %w", size, err)
	}
	if err := part.Sync(); err != nil {
		return info, size, err
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return info, size, err
	}
	if info, err = fsm.CheckBackup(part); err != nil {
		return info, size, fmt.Errorf("what came is no backup: %w", err)
	}
	if err := f.free(); err != nil { // it took a while
		return info, size, err
	}
	if err := os.Rename(part.Name(), f.File); err != nil {
		return info, size, err
	}
	return info, size, syncDir(dir)
}

// syncDir puts the names in a directory on the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var errStalled = fmt.Errorf("nothing came for %v; is the node stuck or overloaded? see its log", stallWait)

// instead gives the reason for an error where ctx ended, which is the better one.
func instead(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case err == nil || cause == nil:
		return err
	case errors.Is(cause, context.Canceled):
		return errors.New("interrupted; nothing was written")
	default:
		return cause
	}
}

// watched puts an alarm off whenever bytes have come.
type watched struct {
	io.Reader
	alarm *time.Timer
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	w.alarm.Reset(stallWait)
	return n, err
}
