package fanout

import (
	"context"
	"log/slog"
	"time"
)

const reportPeriod = time.Minute // at most one line about losses

// lossReport says what was lost, one line a period. A loss within a period after a
// line waits for its end, and a timer for it, so that it is told though nothing
// follows; there is none while nothing waits. Only the dispatcher's goroutine uses
// it.
type lossReport struct {
	last          time.Time
	dropped, lost uint64 // already reported
	timer         *time.Timer
}

// line reports what was lost, or sees to it that it will be.
func (l *lossReport) line(d *Dispatcher) {
	if !l.news(d.registry) || !d.options.Logger.Enabled(context.Background(), slog.LevelWarn) {
		return
	}
	if left := reportPeriod - time.Since(l.last); left > 0 {
		if l.timer == nil {
			l.timer = time.NewTimer(left)
			d.cursor.due = l.timer.C
		}
		return
	}
	l.write(d)
}

// end reports what still waits, because the dispatcher ends.
func (l *lossReport) end(d *Dispatcher) {
	if l.news(d.registry) {
		l.write(d)
	}
}

func (l *lossReport) news(r *Registry) bool {
	return r.stats.dropped.Load() != l.dropped || r.stats.lost.Load() != l.lost
}

func (l *lossReport) write(d *Dispatcher) {
	r := d.registry
	dropped, lost := r.stats.dropped.Load(), r.stats.lost.Load()
	d.options.Logger.Warn("watchers lost events",
		"dropped", dropped-l.dropped, "gap_revisions", lost-l.lost, "watchers", r.Len(), "period", reportPeriod)
	l.last, l.dropped, l.lost = time.Now(), dropped, lost
	if l.timer != nil {
		l.timer.Stop()
		l.timer, d.cursor.due = nil, nil
	}
}
