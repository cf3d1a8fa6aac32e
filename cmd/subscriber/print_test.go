package main

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/nats"
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

// screen is a terminal as far as figures and lines need one.
type screen struct {
	rows []string
	at   int
}

func (s *screen) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if up, ok := strings.CutPrefix(line, "\x1b["); ok {
			if n, row, ok := strings.Cut(up, "A"); ok {
				if n, err := strconv.Atoi(n); err == nil {
					s.at, line = s.at-n, row
				}
			}
		}
		if line == "" {
			continue
		}
		if s.at == len(s.rows) {
			s.rows = append(s.rows, "")
		}
		s.rows[s.at] = strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[2K"), "\n")
		s.at++
	}
	return len(p), nil
}

// TestFiguresBesideWhatIsSaid: on a terminal figures take the place of those before, and not of
// what was said since.
func TestFiguresBesideWhatIsSaid(t *testing.T) {
	terminal := &screen{}
	say := newSayer(terminal)
	m := newMeter(terminal, say, &followed{}, true)
	figures := func() {
		t.Helper()
		if err := m.print(); err != nil {
			t.Fatal(err)
		}
	}
	figures()
	figures()
	rows := len(terminal.rows)
	say.line("a loss")
	figures()
	m.change(nats.Update{Kind: nats.Changed, Asked: true})
	figures()
	if n := len(terminal.rows); n != 2*rows+1 || terminal.rows[rows] != "subscriber: a loss" || !strings.HasPrefix(terminal.rows[rows+1], "changes   1,") {
		t.Errorf("the terminal shows\n%s", strings.Join(terminal.rows, "\n"))
	}
}
