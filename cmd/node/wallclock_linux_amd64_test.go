package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// wallClock is that of one process alone, which sees it jump: the machine's is left
// alone, and no namespace covers it. What the process reads clocks with is code that the
// kernel maps into it, the vDSO; a debugger's rights are enough to put other code there,
// that asks the kernel and adds some hours to the time of day. Timers and the monotonic
// clock stay as they are, as they do when a real clock is set.
type wallClock struct {
	t     *testing.T
	mem   string // the process's memory
	hours int64  // address of the byte that is added
}

// clockCode is for __vdso_clock_gettime(edi clock, rsi *timespec). One byte behind it are
// the hours, because one byte is written at once.
var clockCode = []byte{
	0xb8, 0xe4, 0, 0, 0, // mov $228, %eax: clock_gettime
	0x0f, 0x05, // syscall
	0x85, 0xff, // test %edi, %edi: CLOCK_REALTIME?
	0x75, 0x12, // jne to ret
	0x48, 0x0f, 0xbe, 0x0d, 11, 0, 0, 0, // movsbq hours(%rip), %rcx
	0x48, 0x69, 0xc9, 0x10, 0x0e, 0, 0, // imul $3600, %rcx
	0x48, 0x01, 0x0e, // add %rcx, (%rsi)
	0xc3, // ret
	0,    // hours
}

// startWithClock starts a node, and has a clock of its own for it before its first
// instruction.
func startWithClock(t *testing.T, env []string, args ...string) (*process, *wallClock) {
	t.Helper()
	runtime.LockOSThread() // which traces it
	defer runtime.UnlockOSThread()
	cmd := exec.Command(os.Args[0], args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	p := startCommand(t, cmd, env)
	pid := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || !status.Stopped() {
		t.Fatalf("this test needs to trace its own child (ptrace): status %#x, %v", status, err)
	}
	c := &wallClock{t: t, mem: fmt.Sprintf("/proc/%d/mem", pid)}
	c.hours = c.install(pid)
	if err := unix.PtraceDetach(pid); err != nil {
		t.Fatal(err)
	}
	return p, c
}

// install replaces what reads the clock, and returns where the hours are.
func (c *wallClock) install(pid int) int64 {
	c.t.Helper()
	base, end := c.vdso(pid)
	image := make([]byte, end-base)
	mem, err := os.Open(c.mem)
	if err != nil {
		c.t.Fatal(err)
	}
	defer mem.Close()
	if _, err := mem.ReadAt(image, base); err != nil {
		c.t.Fatalf("read the vDSO at %#x: %v", base, err)
	}
	vdso, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		c.t.Fatal(err)
	}
	symbols, err := vdso.DynamicSymbols()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		if s.Size < uint64(len(clockCode)) {
			c.t.Fatalf("this kernel's %s has %d bytes; the test needs %d", s.Name, s.Size, len(clockCode))
		}
		at := base + int64(s.Value)
		c.write(clockCode, at)
		return at + int64(len(clockCode)) - 1
	}
	c.t.Fatal("this kernel's vDSO has no __vdso_clock_gettime")
	panic("unreachable")
}

// vdso returns where it is.
func (c *wallClock) vdso(pid int) (base, end int64) {
	c.t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.HasSuffix(line, "[vdso]\n") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &base, &end); err != nil {
			c.t.Fatalf("%q: %v", line, err)
		}
		return base, end
	}
	c.t.Fatal("this kernel maps no vDSO")
	panic("unreachable")
}

func (c *wallClock) write(data []byte, at int64) {
	c.t.Helper()
	mem, err := os.OpenFile(c.mem, os.O_WRONLY, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer mem.Close()
	if _, err := mem.WriteAt(data, at); err != nil {
		c.t.Fatal(err)
	}
}

// set has the process see a wall clock that is so many hours from the machine's.
func (c *wallClock) set(hours int8) {
	c.t.Helper()
	c.write([]byte{byte(hours)}, c.hours)
}
