package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is who a node runs as in these tests, if they are run by root, to whom
// permissions do not apply.
const nobody = 65534

// publicDir returns a directory of nobody's that others can get to, unlike those of
// t.TempDir.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "watchcast-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startAsNobody starts a node without root's rights.
func startAsNobody(t *testing.T, args ...string) *process {
	t.Helper()
	// By this name, because the test binary lies where only its owner gets to.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return startCommand(t, cmd, nil)
}

// TestForbiddenDirectory: a data directory that the node may not write to, or read,
// is named, with what to look at; nothing in it is taken for damaged; and with the
// permissions mended the node has its data.
func TestForbiddenDirectory(t *testing.T) {
	t.Parallel()
	chmod := func(name string, mode os.FileMode) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(path, info.Mode()) })
		}
	}
	for _, c := range []struct {
		name   string
		forbid func(t *testing.T, dir string)
		want   string
	}{
		{"read-only", chmod("", 0o555), `permission denied`},
		{"of somebody else", chmod("", 0), `permission denied`},
		{"log read-only", chmod("raft", 0o555), `permission denied`},
		{"log of somebody else", chmod("raft", 0), `permission denied`},
		{"metadata of somebody else", chmod("raft/wal-meta.db", 0), `permission denied`},
		{"segment of somebody else", chmod("raft/00000000000000000001-0000000000000000.wal", 0), `permission denied`},
		{"snapshots read-only", chmod("snapshots", 0o555), `permission denied`},
		{"identity of somebody else", chmod("identity", 0), `permission denied`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(publicDir(t), "data")
			first := startAsNobody(t, nodeArgs(dir)...)
			first.ready()
			if _, err := connect(t, first.url()).Request("kv.put.k", []byte("v"), limit); err != nil {
				t.Fatal(err)
			}
			first.signal(os.Interrupt)
			first.exit()
			t.Run("forbidden", func(t *testing.T) {
				c.forbid(t, dir)
				p := startAsNobody(t, nodeArgs(dir)...)
				if code := p.exit(); code != exitFailed {
					t.Errorf("exit code %d, want %d", code, exitFailed)
				}
				p.oneLine(`^node: data directory.* ` + dir + `.*check .*owner and permissions.*` + c.want)
			})
			second := startAsNobody(t, nodeArgs(dir)...)
			second.ready()
			got, err := connect(t, second.url()).Request("kv.get.k", nil, limit)
			if err != nil || string(got.Data) != "v" {
				t.Fatalf("what was written before: %v, %v", got, err)
			}
		})
	}
}
