package fanout

import (
	"log/slog"
	"time"
)

const reportPeriod = time.Minute // at most one line about losses

// lossReport says what was lost, one line a period.
type lossReport struct {
	last          time.Time
	dropped, lost uint64 // already reported
}

func (l *lossReport) line(log *slog.Logger, r *Registry) {
	dropped, lost := r.stats.dropped.Load(), r.stats.lost.Load()
	if dropped == l.dropped && lost == l.lost {
		return
	}
	now := time.Now()
	if now.Sub(l.last) < reportPeriod {
		return
	}
	log.Warn("watchers lost events",
		"dropped", dropped-l.dropped, "gap_revisions", lost-l.lost, "watchers", r.Len(), "period", reportPeriod)
	l.last, l.dropped, l.lost = now, dropped, lost
}
