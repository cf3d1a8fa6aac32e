package main

import (
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/watchcast/watchcast/nats"
)

// meter prints figures of the last second, and of all since the start: a line each
// time, or in a terminal always the same lines, until something else is said below them.
type meter struct {
	w      io.Writer
	say    *sayer
	from   *followed
	redraw bool
	drawn  int // lines that are on the terminal

	now   func() time.Time
	since time.Time // of the last print
	count int64     // of the changes since then
	total int64
	lag   *hdrhistogram.Histogram // of the changes since then, in microseconds
	stale bool
}

const (
	longestLag = time.Hour // what is longer counts as that
	lagDigits  = 3
)

func newMeter(w io.Writer, say *sayer, from *followed, redraw bool) *meter {
	return &meter{
		w: w, say: say, from: from, redraw: redraw, now: time.Now, since: time.Now(),
		lag: hdrhistogram.New(1, longestLag.Microseconds(), lagDigits),
	}
}

func (m *meter) change(u nats.Update) {
	m.count++
	m.total++
	if u.Asked {
		return // it says how old the change is, not how long it was on its way
	}
	lag := min(max(m.now().Sub(u.Event.Time), time.Microsecond), longestLag)
	m.lag.RecordValue(lag.Microseconds()) // within its bounds it has no error
}

func (m *meter) note(u nats.Update) {
	switch u.Kind {
	case nats.Stale:
		m.stale = true
	case nats.Fresh:
		m.stale = false
	}
}

func (m *meter) print() error {
	now := m.now()
	rate := float64(m.count) / now.Sub(m.since).Seconds()
	at := func(p float64) string {
		if m.lag.TotalCount() == 0 {
			return "-"
		}
		return (time.Duration(m.lag.ValueAtPercentile(p)) * time.Microsecond).String()
	}
	s := m.from.stats()
	state := "fresh"
	if m.stale {
		state = "stale"
	}
	var err error
	if m.redraw {
		rows := []string{
			fmt.Sprintf("changes   %d, %.0f/s", m.total, rate),
			fmt.Sprintf("delay     p50 %s, p99 %s, max %s", at(50), at(99), at(100)),
			fmt.Sprintf("losses    %d found, %d changes made up for, %d catch-ups", s.Losses, s.Healed, s.CatchUps),
			fmt.Sprintf("keys      %d, %d updates wait, %s", s.Keys, s.Pending, state),
		}
		err = m.say.draw(func(spoke bool) error { return m.draw(rows, spoke) })
	} else {
		_, err = fmt.Fprintf(m.w, "changes %d rate %.0f/s delay p50 %s p99 %s max %s losses %d healed %d catch-ups %d keys %d waiting %d %s\n",
			m.total, rate, at(50), at(99), at(100), s.Losses, s.Healed, s.CatchUps, s.Keys, s.Pending, state)
	}
	m.since, m.count = now, 0
	m.lag.Reset()
	return err
}

func (m *meter) draw(rows []string, below bool) (err error) {
	if m.drawn > 0 && !below {
		fmt.Fprintf(m.w, "\x1b[%dA", m.drawn)
	}
	for _, row := range rows {
		_, err = fmt.Fprintf(m.w, "\x1b[2K%s\n", row)
	}
	m.drawn = len(rows)
	return err
}
