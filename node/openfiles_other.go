//go:build !unix

package node

import "math"

// openFiles returns how many files the process may open: there is no limit.
func openFiles() int { return math.MaxInt32 }
