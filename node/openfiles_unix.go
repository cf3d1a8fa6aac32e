//go:build unix

package node

import (
	"math"
	"syscall"
)

// openFiles returns how many files the process may open. Go has raised that to the most that it
// may be raised to when the process began.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}
