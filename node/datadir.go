package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// ErrDataDir says that the data directory cannot be used; the text says why
// and what to do.
var ErrDataDir = errors.New("node: data directory")

// dataDir is the node's directory, locked.
//
//	LOCK           held by the process that uses it
//	raft/          log segments and Raft's vote
//	snapshots/     of the state machine
//	announced      how far events were announced
//	joining        exists while the node joins a cluster
//	restore-*.part a backup that is being received
//	identity       of which node and cluster it is
type dataDir struct {
	path string
	lock *flock.Flock
}

func openDataDir(path string) (*dataDir, error) {
	fail := func(what string, err error) (*dataDir, error) {
		return nil, fmt.Errorf("%w %s: %s: %w", ErrDataDir, path, what, err)
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return fail("cannot be made; give a path that this user may write to", err)
	}
	d := &dataDir{path: path, lock: flock.New(filepath.Join(path, "LOCK"))}
	locked, err := d.lock.TryLock()
	switch {
	case err != nil:
		return fail("cannot be written to; check its owner and permissions", err)
	case !locked:
		return nil, fmt.Errorf("%w %s: another process is using it; stop that one, or give this node a directory of its own", ErrDataDir, path)
	}
	if err := errors.Join(os.MkdirAll(d.raft(), 0o750), d.dropSpools()); err != nil {
		d.close()
		return fail("cannot be written to; check its owner and permissions", err)
	}
	// What is there already may be writable where nothing new can be made.
	if err := probe(path); err != nil {
		d.close()
		return fail("cannot be written to; "+remedy(err), err)
	}
	return d, nil
}

// probe makes a file in dir and removes it.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (d *dataDir) raft() string      { return filepath.Join(d.path, "raft") }
func (d *dataDir) announced() string { return filepath.Join(d.path, "announced") }

func (d *dataDir) snapshots() string { return filepath.Join(d.path, "snapshots") }
func (d *dataDir) identity() string  { return filepath.Join(d.path, "identity") }

func (d *dataDir) close() error { return d.lock.Close() }
