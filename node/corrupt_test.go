package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	metaFile    = "raft/wal-meta.db"
	segmentFile = "raft/00000000000000000001-0000000000000000.wal"
)

// image is the content of a data directory.
type image map[string][]byte

// readImage reads a directory. Segments are of a fixed size and mostly zeros,
// which are left out.
func readImage(t *testing.T, dir string) image {
	t.Helper()
	files := make(image)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if strings.HasSuffix(name, ".wal") {
			data = append(bytes.TrimRight(data, "\x00"), make([]byte, 64)...) // the last bytes in use may be zeros
		}
		files[filepath.ToSlash(name)] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (files image) write(t *testing.T, dir string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, data, 0o640)); err != nil {
			t.Fatal(err)
		}
	}
}

func (files image) clone() image {
	c := maps.Clone(files)
	for name, data := range c {
		c[name] = bytes.Clone(data)
	}
	return c
}

// wantUnchanged compares a directory with what it held, the lock and one more
// file aside.
func (files image) wantUnchanged(t *testing.T, dir, except string) {
	t.Helper()
	now := readImage(t, dir)
	trim := func(name string, data []byte) []byte {
		if strings.HasSuffix(name, ".wal") {
			return bytes.TrimRight(data, "\x00")
		}
		return data
	}
	for name := range now {
		if _, ok := files[name]; !ok && name != "LOCK" {
			t.Errorf("%s is new", name)
		}
	}
	for name, data := range files {
		if name == except {
			continue
		}
		if got, ok := now[name]; !ok || !bytes.Equal(trim(name, got), trim(name, data)) {
			t.Errorf("%s was changed (still there: %v)", name, ok)
		}
	}
}

// rewritten is what Raft writes its term to again before it reads its log.
const rewritten = metaFile

const (
	corruptKeys   = 20
	corruptRounds = 5
)

// founded returns the directory of a node that was stopped in order, with the
// revision that each key should be at.
func founded(t *testing.T, more func(*Node)) (image, [corruptKeys]uint64) {
	t.Helper()
	config := single(t)
	n := lead(t, config)
	var revisions [corruptKeys]uint64
	for i := range corruptKeys * corruptRounds {
		revisions[i%corruptKeys] = put(t, n, fmt.Sprintf("key.%d", i%corruptKeys), fmt.Sprint(i))
	}
	more(n)
	stop(t, n)
	return readImage(t, config.DataDir), revisions
}

func wantAll(t *testing.T, n *Node, revisions [corruptKeys]uint64) {
	t.Helper()
	for i, revision := range revisions {
		wantValue(t, n, fmt.Sprintf("key.%d", i), fmt.Sprint(corruptKeys*(corruptRounds-1)+i), revision)
	}
}

// TestCorruptLog damages the log in ways that cost something: the node says so,
// and changes nothing, so that whoever repairs it still can.
func TestCorruptLog(t *testing.T) {
	t.Parallel()
	whole, revisions := founded(t, func(*Node) {})
	cut := func(name string, size int) func(image) {
		return func(files image) { files[name] = files[name][:size] }
	}
	segment := len(whole[segmentFile])
	for _, c := range []struct {
		name   string
		damage func(image)
	}{
		{"no metadata", func(files image) { delete(files, metaFile) }},
		{"empty metadata", cut(metaFile, 0)},
		{"metadata cut in its first page", cut(metaFile, 1000)},
		{"metadata cut behind a page", cut(metaFile, 8192)},
		{"metadata cut behind three pages", cut(metaFile, 12288)}, // of four, or of six: by turns the last two are in use
		{"metadata zeroed", func(files image) { clear(files[metaFile]) }},
		{"metadata is text", func(files image) { files[metaFile] = []byte(strings.Repeat("garbage\n", 4096)) }},
		{"no segment", func(files image) { delete(files, segmentFile) }},
		{"empty segment", cut(segmentFile, 0)},
		{"segment zeroed", func(files image) { clear(files[segmentFile]) }},
		{"segment cut in its head", cut(segmentFile, 20)},
		{"segment cut in the middle", cut(segmentFile, segment/2)},
		{"segment cut at its end", cut(segmentFile, segment-100)},
		{"last entry damaged", func(files image) { files[segmentFile][segment-90] ^= 0xff }},
		{"a segment too many", func(files image) { files["raft/00000000000000000500-0000000000000007.wal"] = []byte("x") }},
		{"a segment with a strange name", func(files image) { files["raft/strange.wal"] = []byte("x") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := single(t)
			damaged := whole.clone()
			c.damage(damaged)
			damaged.write(t, config.DataDir)
			for range 2 { // the first attempt leaves no lock, and no traces that hide the damage
				_, err := Start(bounded(t), config)
				wantOneLine(t, err, ErrCorrupt, config.DataDir, "restore", "backup")
				damaged.wantUnchanged(t, config.DataDir, "")
			}
			whole.write(t, config.DataDir)
			for name := range damaged {
				if _, ok := whole[name]; !ok {
					if err := os.Remove(filepath.Join(config.DataDir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			wantAll(t, lead(t, config), revisions)
		})
	}
}

// TestTornWrite starts a node whose last write was cut short by a crash: all
// that was acknowledged is there.
func TestTornWrite(t *testing.T) {
	t.Parallel()
	whole, revisions := founded(t, func(*Node) {})
	for _, c := range []struct {
		name   string
		damage func(image)
	}{
		{"garbage behind the end", func(files image) {
			files[segmentFile] = append(files[segmentFile], bytes.Repeat([]byte("torn"), 50)...)
		}},
		{"half an entry behind the end", func(files image) {
			files[segmentFile] = append(files[segmentFile], 1, 0, 0, 0, 200, 0, 0, 0, 'x')
		}},
		{"a snapshot that was not finished", func(files image) {
			files["snapshots/2-50-1700000000000.tmp/state.bin"] = []byte("WCAST")
		}},
		{"a record that was not finished", func(files image) { files["announced.new"] = []byte("{") }},
		{"a check that was not finished", func(files image) { files["raft/check/wal-meta.db"] = []byte("x") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := single(t)
			damaged := whole.clone()
			c.damage(damaged)
			damaged.write(t, config.DataDir)
			wantAll(t, lead(t, config), revisions)
		})
	}
}

// TestFlippedByte damages single bytes all over the log. The log has no sums of
// its entries, so that a value that reads otherwise goes unnoticed; but the node
// never panics, and says so or runs.
func TestFlippedByte(t *testing.T) {
	t.Parallel()
	whole, _ := founded(t, func(*Node) {})
	const steps = 40
	for at := 3; at < len(whole[segmentFile]); at += len(whole[segmentFile]) / steps {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			config := single(t)
			damaged := whole.clone()
			damaged[segmentFile][at] ^= 0xff
			damaged.write(t, config.DataDir)
			n, err := Start(bounded(t), config)
			if err != nil {
				wantOneLine(t, err, ErrCorrupt, config.DataDir)
				damaged.wantUnchanged(t, config.DataDir, rewritten)
				return
			}
			waitReady(t, n)
			put(t, n, "k", "v")
			stop(t, n)
		})
	}
}

// TestCorruptSnapshot damages snapshots of a node whose log begins behind them.
func TestCorruptSnapshot(t *testing.T) {
	t.Parallel()
	whole, revisions := founded(t, func(n *Node) {
		keepNoLog(t, n)
		takeSnapshot(t, n)
	})
	var state, meta string
	for name := range whole {
		switch {
		case strings.HasPrefix(name, "snapshots/") && strings.HasSuffix(name, "/state.bin"):
			state = name
		case strings.HasPrefix(name, "snapshots/") && strings.HasSuffix(name, "/meta.json"):
			meta = name
		}
	}
	for _, c := range []struct {
		name   string
		damage func(image)
	}{
		{"flipped byte", func(files image) { files[state][len(files[state])/2] ^= 1 }},
		{"cut short", func(files image) { files[state] = files[state][:len(files[state])/2] }},
		{"empty", func(files image) { files[state] = nil }},
		{"no metadata", func(files image) { delete(files, meta) }},
		{"garbage metadata", func(files image) { files[meta] = []byte("{") }},
		{"gone", func(files image) { delete(files, meta); delete(files, state) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := single(t)
			damaged := whole.clone()
			c.damage(damaged)
			damaged.write(t, config.DataDir)
			for range 2 {
				_, err := Start(bounded(t), config)
				wantOneLine(t, err, ErrCorrupt, config.DataDir)
				damaged.wantUnchanged(t, config.DataDir, rewritten)
			}
			whole.write(t, config.DataDir)
			wantAll(t, lead(t, config), revisions)
		})
	}
}
