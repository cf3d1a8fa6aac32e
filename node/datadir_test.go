package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wantOneLine fails the test if an error does not say, on one line, what it
// should.
func wantOneLine(t *testing.T, err, want error, mentions ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v; want %v", err, want)
	}
	text := err.Error()
	if strings.Contains(text, "\n") {
		t.Errorf("error has several lines:\n%s", text)
	}
	for _, m := range mentions {
		if !strings.Contains(text, m) {
			t.Errorf("error does not mention %q: %s", m, text)
		}
	}
}

// TestOneNodePerDirectory starts a second node on a directory in use: it is
// refused, the first one goes on, and when that is closed it can have it.
func TestOneNodePerDirectory(t *testing.T) {
	t.Parallel()
	config := single(t)
	first := lead(t, config)
	for range 2 {
		_, err := Start(bounded(t), config)
		wantOneLine(t, err, ErrDataDir, config.DataDir, "another process is using it")
	}
	revision := put(t, first, "k", "v")
	stop(t, first)
	wantValue(t, lead(t, config), "k", "v", revision)
}

// TestDirectoryNamedAsPattern: a directory is what its name says, whatever patterns mean by
// it; what a crash left there is removed.
func TestDirectoryNamedAsPattern(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a[b", "a[b]", "*?"} {
		config := single(t)
		config.DataDir = filepath.Join(config.DataDir, name)
		n := lead(t, config)
		revision := put(t, n, "k", "v")
		takeSnapshot(t, n)
		stop(t, n)
		leftovers := []string{
			filepath.Join(config.DataDir, spoolPrefix+"123"+spoolSuffix),
			filepath.Join(n.dir.snapshots(), "2-3-4"+unfinished),
		}
		for _, path := range leftovers {
			if err := os.Mkdir(path, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		n = lead(t, config)
		wantValue(t, n, "k", "v", revision)
		for _, path := range leftovers {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", path, err)
			}
		}
	}
}

func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	file := func(path string) error { return os.WriteFile(path, []byte("not a directory"), 0o640) }
	for _, c := range []struct {
		name    string
		prepare func(dir string) (path string, err error)
	}{
		{"a file", func(dir string) (string, error) {
			path := filepath.Join(dir, "data")
			return path, file(path)
		}},
		{"under a file", func(dir string) (string, error) {
			path := filepath.Join(dir, "data")
			return filepath.Join(path, "deeper"), file(path)
		}},
		{"with a file where the log should be", func(dir string) (string, error) {
			return dir, file(filepath.Join(dir, "raft"))
		}},
		{"with a file where the snapshots should be", func(dir string) (string, error) {
			return dir, file(filepath.Join(dir, "snapshots"))
		}},
		{"with a directory where the lock should be", func(dir string) (string, error) {
			return dir, os.Mkdir(filepath.Join(dir, "LOCK"), 0o750)
		}},
		{"a link to nowhere", func(dir string) (string, error) {
			path := filepath.Join(dir, "data")
			return path, os.Symlink(filepath.Join(dir, "gone", "away"), path)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := single(t)
			path, err := c.prepare(config.DataDir)
			if err != nil {
				t.Fatal(err)
			}
			config.DataDir = path
			_, err = Start(bounded(t), config)
			wantOneLine(t, err, ErrDataDir, path)
		})
	}
}

// TestInMemory leaves nothing on disk.
func TestInMemory(t *testing.T) {
	t.Parallel()
	config := single(t)
	dir := config.DataDir
	config.DataDir, config.InMemory = "", true
	n := lead(t, config)
	revision := put(t, n, "k", "v")
	wantValue(t, n, "k", "v", revision)
	stop(t, n)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left on disk: %v, %v", left, err)
	}
	if _, err := os.Stat(DefaultDataDir); err == nil {
		t.Errorf("a node in memory made %s", DefaultDataDir)
	}
}
