package main

import (
	"errors"
	"testing"
)

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestCannotPrint: it ends, and says in one line that it is the output that failed, the figures
// that come at the end among it.
func TestCannotPrint(t *testing.T) {
	n := startNode(t)
	put(t, n, "k", "v")
	for _, form := range []string{"--stats", "--json", "--state"} {
		stderr := &syncBuffer{}
		code := run(t.Context(), []string{"-s", n.NATSURL(), "--state", form, "--count", "1", "k"}, fullDisk{}, stderr)
		if want := "subscriber: cannot print: no space left on device\n"; code != exitFailed || stderr.String() != want {
			t.Errorf("%s: exit code %d, said %q; want %d and %q", form, code, stderr, exitFailed, want)
		}
	}
}
