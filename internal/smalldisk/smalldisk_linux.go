// Package smalldisk gives tests a file system that is really full when it is: writes to
// it fail in the kernel with ENOSPC, for whoever makes them and wherever in a file.
package smalldisk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is a tmpfs of a few bytes.
type Disk struct {
	Dir string // its root, which every process of this user reaches

	t testing.TB
}

// script mounts, says so, and stays until its standard input ends, which it does with
// the test's process however that ends.
const script = `mount -t tmpfs -o "size=$2,mode=0700" none "$1" && echo mounted && exec cat`

// New makes a disk of so many bytes.
//
// It is mounted in a mount namespace of a process that holds it, and reached through
// that process's root: so nothing of it is seen by others, and nothing is left of it when
// the process is gone, even if the test was killed. Root mounts as root, anybody else
// in a user namespace; where neither is allowed the test fails and says what is missing.
func New(t testing.TB, size int64) *Disk {
	t.Helper()
	at := t.TempDir()
	holder := exec.Command("/bin/sh", "-c", script, "sh", at, fmt.Sprint(size))
	holder.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	missing := "CAP_SYS_ADMIN, which root has unless its container takes it away"
	if os.Geteuid() != 0 {
		holder.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		holder.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		holder.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
		missing = "user namespaces for ordinary users (see user_namespaces(7)), or root"
	}
	var said bytes.Buffer
	holder.Stderr = &said
	stay, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatalf("this test mounts a small file system, which needs %s: %v", missing, err)
	}
	t.Cleanup(func() {
		stay.Close()
		holder.Wait()
	})
	if line, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		stay.Close()
		holder.Wait() // it has said all then
		t.Fatalf("this test mounts a small file system, which needs %s, and mount(8): %q, %v: %s", missing, line, err, said.Bytes())
	}
	return &Disk{Dir: fmt.Sprintf("/proc/%d/root%s", holder.Process.Pid, at), t: t}
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
