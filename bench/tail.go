package main

import (
	"strings"
	"sync"
)

// tail keeps the end of what is written to it: what a process says last is why it ended.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const (
	tailSize  = 2 << 10
	tailLines = 3
)

// Write implements [io.Writer].
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = append(t.text[:0], t.text[max(0, len(t.text)-tailSize):]...)
	return len(b), nil
}

// String returns the last lines in one.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "; ")
}
