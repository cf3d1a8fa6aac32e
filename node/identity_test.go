package node

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIdentity: the record of whose directory it is stays, is refused for another
// node, and is not guessed where it cannot be read.
func TestIdentity(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "identity")
	first, err := openIdentity(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range []string{"A", "B"} {
		if err := first.learn(cluster); err != nil {
			t.Fatal(err)
		}
	}
	again, err := openIdentity(path, "n1")
	if err != nil || again.get() != first.get() || again.get().Cluster != "A" || again.get().Directory == "" {
		t.Errorf("read again: %+v, %v; want %+v of cluster A", again.get(), err, first.get())
	}
	_, err = openIdentity(path, "n2")
	wantOneLine(t, err, ErrDataDir, path, `"n1"`, `"n2"`)
	for _, garbage := range []string{"", "{", `{"node":"n1"}`, "\x00\x00"} {
		if err := os.WriteFile(path, []byte(garbage), 0o640); err != nil {
			t.Fatal(err)
		}
		_, err := openIdentity(path, "n1")
		wantOneLine(t, err, ErrCorrupt, path, "restore it from a backup")
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, []byte(garbage)) {
			t.Errorf("%q was changed to %q, %v", garbage, left, err)
		}
	}
}

// TestIdentityIsKnownWithTheFirstWrite: before a write is acknowledged, the disk says
// which cluster this is.
func TestIdentityIsKnownWithTheFirstWrite(t *testing.T) {
	t.Parallel()
	config := single(t)
	n := lead(t, config)
	put(t, n, "k", "v")
	data, err := os.ReadFile(filepath.Join(config.DataDir, "identity"))
	if err != nil || !strings.Contains(string(data), n.Status().Cluster) {
		t.Errorf("the record is %s, %v; the cluster is %s", data, err, n.Status().Cluster)
	}
}
