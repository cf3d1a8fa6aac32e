package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// spool holds a backup that is being received until it was checked as a whole: in a
// file of the data directory, or in memory where there is none.
type spool struct {
	io.Reader
	file *os.File // nil in memory
}

// spooled reads in to its end, limit bytes at most.
func spooled(dir *dataDir, in io.Reader, limit int64) (_ *spool, err error) {
	in = &boundedReader{in: in, left: limit, limit: limit}
	if dir == nil {
		var b bytes.Buffer
		if _, err := b.ReadFrom(in); err != nil {
			return nil, fmt.Errorf("node: receive the backup: %w", err)
		}
		return &spool{Reader: &b}, nil
	}
	f, err := os.CreateTemp(dir.path, spoolPrefix+"*"+spoolSuffix)
	if err != nil {
		return nil, fmt.Errorf("%w %s: no place to receive a backup: %w", ErrDataDir, dir.path, err)
	}
	s := &spool{Reader: f, file: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if _, err := io.Copy(f, in); err != nil {
		return nil, fmt.Errorf("node: receive the backup: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("node: receive the backup: %w", err)
	}
	return s, nil
}

// close removes the file.
func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}

// spoolPrefix begins the names of the files of spools, and spoolSuffix ends them: what is
// called only something like it is somebody else's, a backup perhaps.
const (
	spoolPrefix = "restore-"
	spoolSuffix = ".part"
)

// dropSpools removes what a crash left of backups that were being received.
func (d *dataDir) dropSpools() error {
	left, err := named(d.path, spoolPrefix, spoolSuffix)
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// boundedReader fails where there are more bytes than its limit.
type boundedReader struct {
	in          io.Reader
	left, limit int64
}

func (r *boundedReader) Read(b []byte) (int, error) {
	if r.left < 0 {
		return 0, tooLarge(r.limit)
	}
	room := max(r.left, r.left+1) // one more, to see that there is more, unless that is no number any more
	n, err := r.in.Read(b[:min(int64(len(b)), room)])
	r.left -= int64(n)
	if r.left < 0 && err == io.EOF {
		err = nil // the next call says what is wrong
	}
	return n, err
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: it has more than %d bytes; raise the limit (MaxRestoreBytes, --max-restore-bytes)", ErrBackupTooLarge, limit)
}
