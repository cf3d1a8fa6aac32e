package fsm

import (
	"log/slog"
	"time"
)

const lossPeriod = time.Minute // at most one line

// lossLog says why watchers of a wrapped state machine were told of losses, in one
// line a period.
type lossLog struct {
	logger  *slog.Logger
	last    time.Time // of the newest line
	entries uint64    // since then
}

// due reports whether the next loss gets a line.
func (l *lossLog) due() bool { return l.last.IsZero() || time.Since(l.last) >= lossPeriod }

func (l *lossLog) add(revision uint64, why error) {
	l.entries++
	if !l.due() {
		return
	}
	l.logger.Error("changes could not be told to watchers; they are told of a loss",
		"revision", revision, "entries", l.entries, "error", why, "period", lossPeriod)
	l.last, l.entries = time.Now(), 0
}
