package fsm

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// TestChecked reads a snapshot in pieces of every kind: whole it comes through, and with a bit
// flipped anywhere, or cut short anywhere, its end is an error.
func TestChecked(t *testing.T) {
	whole := snapshotOf(t, smallMachine(t).FSM)
	readers := map[string]func(io.Reader) io.Reader{
		"as it comes":      func(in io.Reader) io.Reader { return in },
		"a byte at a time": iotest.OneByteReader,
		"in halves":        iotest.HalfReader,
		"with the end":     iotest.DataErrReader,
	}
	for name, pieces := range readers {
		read := func(b []byte) ([]byte, error) { return io.ReadAll(Checked(pieces(bytes.NewReader(b)))) }
		if got, err := read(whole); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(whole), err)
		}
		for at := range whole {
			if _, err := read(whole[:at]); !errors.Is(err, ErrCorruptSnapshot) {
				t.Errorf("%s: cut behind %d bytes: %v", name, at, err)
			}
			bad := bytes.Clone(whole)
			bad[at] ^= 1
			if got, err := read(bad); !errors.Is(err, ErrCorruptSnapshot) || len(got) != len(bad) {
				t.Errorf("%s: byte %d flipped: %d bytes, %v", name, at, len(got), err)
			}
		}
	}
	failing := errors.New("broken")
	if _, err := io.ReadAll(Checked(iotest.ErrReader(failing))); !errors.Is(err, failing) {
		t.Errorf("error is %v; want that of the reader", err)
	}
}
