package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// announced is what this node knows of how far events have reached everybody: what
// was safe while it led, or what the leader's beacons said. On
// start, and on becoming leader, publishing goes on from there.
//
// It is never derived from the log: the log's tail may hold entries that were
// not committed and are replaced, and says nothing of what was published.
type announced struct {
	mu  sync.Mutex
	now announcement

	fileMu  sync.Mutex // held while the file is written
	written announcement
}

// announcement is the content of the file: JSON.
type announcement struct {
	Cluster  string `json:"cluster"`
	Term     uint64 `json:"term"`
	Revision uint64 `json:"revision"`
}

// note records that everything up to revision was safe in term. An older
// term than known is a leader that has not noticed its end.
func (a *announced) note(n announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n.Term < a.now.Term || n.Revision < a.now.Revision {
		return
	}
	a.now = n
}

// forget drops what turned out to be the record of another state.
func (a *announced) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = announcement{}
}

// get returns what is known, and whether anything is.
func (a *announced) get() (announcement, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now, a.now != announcement{}
}

// load reads the record at path. One that is missing or unreadable is as good
// as none: the file is not synced at every write, so a power failure may leave
// anything.
func (a *announced) load(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var n announcement
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("%s holds no record: %w", path, err)
	}
	a.now, a.written = n, n
	return nil
}

// save writes the record if it has changed. With sync it is on the disk when
// save returns.
func (a *announced) save(path string, sync bool) error {
	if err := a.write(path, sync); err != nil {
		return fmt.Errorf("node: record how far events were announced: %w", err)
	}
	return nil
}

func (a *announced) write(path string, sync bool) error {
	a.fileMu.Lock()
	defer a.fileMu.Unlock()
	n, _ := a.get()
	if n == a.written {
		if !sync || n == (announcement{}) {
			return nil
		}
		// This needs no room on the disk, but somebody may have removed the file.
		if err := syncFile(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := replaceFile(path, data, sync); err != nil {
		return err
	}
	a.written = n
	return nil
}

// replaceFile gives path new content: the old one or the new one, never half. With sync
// the new one and its name are on the disk when it returns.
func replaceFile(path string, data []byte, sync bool) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil || !sync {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// syncFile puts a file that is there on the disk, with its name.
func syncFile(path string) error {
	if err := syncPath(path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
