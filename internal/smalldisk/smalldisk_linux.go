// Package smalldisk gives tests a file system that is really full when it is: writes to
// it fail in the kernel with ENOSPC, for whoever makes them and wherever in a file.
package smalldisk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is a tmpfs of a few bytes.
type Disk struct {
	Dir string // its root, which every process of this user reaches

	t testing.TB
}

// script does as it is told, line by line, and answers each with one, which is empty if all is
// well. It ends with its standard input, which ends with the test's process, however that does.
const script = `while read -r what size at; do
	case $what in
	mount) said=$(mount -t tmpfs -o "size=$size,mode=0700" none "$at" 2>&1) ;;
	*) said=$(umount -l "$at" 2>&1) ;;
	esac && echo || echo $said
done`

// holder is the process in whose mount namespace the disks are. There is one: until a process
// that is begun runs its own program it has the files of all tests open, and with them the room
// of those that are removed meanwhile, and to get a namespace takes it a while.
type holder struct {
	pid int

	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

var hold = sync.OnceValues(func() (*holder, error) {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	missing := "CAP_SYS_ADMIN, which root has unless its container takes it away"
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
		missing = "user namespaces for ordinary users (see user_namespaces(7)), or root"
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("this test mounts a small file system, which needs %s: %w", missing, err)
	}
	return &holder{pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out)}, nil
})

// do has the holder do something, and waits until it has.
func (h *holder) do(what string, size int64, at string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := fmt.Fprintln(h.in, what, size, at); err != nil {
		return err
	}
	said, err := h.out.ReadString('\n')
	if said = strings.TrimSpace(said); err == nil && said != "" {
		err = errors.New(said)
	}
	return err
}

// New makes a disk of so many bytes, until the test ends.
//
// It is mounted in a mount namespace of a process that holds it, and reached through
// that process's root: so nothing of it is seen by others, and nothing is left of it when
// the process is gone, even if the test was killed. Root mounts as root, anybody else
// in a user namespace; where neither is allowed the test fails and says what is missing.
func New(t testing.TB, size int64) *Disk {
	t.Helper()
	at := t.TempDir()
	h, err := hold()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.do("mount", size, at); err != nil {
		t.Fatalf("this test mounts a small file system, which needs mount(8) and the right to do so: %v", err)
	}
	t.Cleanup(func() {
		if err := h.do("umount", 0, at); err != nil {
			t.Errorf("unmount the small file system: %v", err)
		}
	})
	return &Disk{Dir: fmt.Sprintf("/proc/%d/root%s", h.pid, at), t: t}
}

// ballast is the file that takes what is free.
func (d *Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Fill takes all that is free but so many bytes, in whole pages.
func (d *Disk) Fill(but int64) {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	free := d.Free()
	for page := make([]byte, 4096); free > but; free = d.Free() {
		switch _, err := f.Write(page[:min(int64(len(page)), free-but)]); {
		case errors.Is(err, unix.ENOSPC):
			return // though something is said to be free
		case err != nil:
			d.t.Fatal(err)
		}
	}
}

// Free returns how many bytes are left.
func (d *Disk) Free() int64 {
	d.t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.Dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * int64(s.Bsize)
}

// MakeRoom gives back what Fill took, at once, also where a process that was just begun has
// the file open still.
func (d *Disk) MakeRoom() {
	d.t.Helper()
	if err := os.Truncate(d.ballast(), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.t.Fatal(err)
	}
	if err := os.Remove(d.ballast()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.t.Fatal(err)
	}
}

// Thin gives back what a file has reserved and not written yet, as on a file system
// that keeps no reservations: what is written there later takes room.
func (d *Disk) Thin(file string) {
	d.t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		d.t.Fatal(err)
	}
	const page = 4096
	used := (int64(len(bytes.TrimRight(data, "\x00"))) + page - 1) / page * page
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, used, info.Size()-used); err != nil {
		d.t.Fatal(err)
	}
}
