package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	futexWait = 128 // FUTEX_WAIT | FUTEX_PRIVATE_FLAG
	futexWake = 129 // FUTEX_WAKE | FUTEX_PRIVATE_FLAG
)

// futexLatency wakes a thread n times and returns how long it took each time
// until it ran, in µs: what a wake costs on this machine, whoever asks for it.
// The two threads are the goroutines' own. The system calls are raw: Go's
// scheduler does not hear of them, so it has no part in what is measured.
func futexLatency(ctx context.Context, n int, p pace) ([]float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var sent atomic.Uint32 // the futex
	var received uint32    // of the waiting thread
	send := func() {
		sent.Add(1)
		futex(&sent, futexWake, 1, nil)
	}
	receive := func() (int, error) {
		if received == 0 {
			runtime.LockOSThread() // until the goroutine ends, and its thread with it
		}
		for begun := time.Now(); sent.Load() == received; {
			// It does wake up now and then: a thread in a raw call cannot be
			// stopped for a collection, and the one that is to wake it can.
			timeout := syscall.NsecToTimespec(int64(10 * time.Millisecond))
			switch errno := futex(&sent, futexWait, received, &timeout); errno {
			case 0, syscall.EAGAIN, syscall.EINTR, syscall.ETIMEDOUT:
			default:
				return 0, fmt.Errorf("futex: %w", errno)
			}
			if time.Since(begun) > stuck {
				return 0, errors.New("futex: nobody wakes")
			}
		}
		received++
		return int(received) - 1, nil
	}
	return latencies(ctx, n, p, send, receive)
}

func futex(word *atomic.Uint32, op, value uint32, timeout *syscall.Timespec) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)),
		uintptr(op), uintptr(value), uintptr(unsafe.Pointer(timeout)), 0, 0)
	return errno
}
