package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// sayer writes to standard error what is no change. Any goroutine may use it.
type sayer struct {
	mu    sync.Mutex
	w     io.Writer
	spoke bool   // since draw was called
	wrong string // what complain said last, until all is well
}

func newSayer(w io.Writer) *sayer { return &sayer{w: w} }

func (s *sayer) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "subscriber: "+format+"\n", args...)
	s.spoke = true
}

// complain says what is wrong, and not once more what it said last: a client that is refused
// tries again and again. After well it does.
func (s *sayer) complain(text string) {
	s.mu.Lock()
	again := s.wrong == text
	s.wrong = text
	s.mu.Unlock()
	if !again {
		s.line("%s", text)
	}
}

func (s *sayer) well() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = ""
}

// draw calls do while nothing is said, with whether something was since the last time: on a
// terminal that stands where do would draw.
func (s *sayer) draw(do func(spoke bool) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	spoke := s.spoke
	s.spoke = false
	return do(spoke)
}

// Enabled, Handle, WithAttrs and WithGroup make a sayer write the warnings of a logger, for
// people: what attributes say, without their names.

func (s *sayer) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (s *sayer) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += ": " + a.Value.String()
		return true
	})
	s.line("%s", text)
	return nil
}

func (s *sayer) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s *sayer) WithGroup(string) slog.Handler { return s }

// update says what a watch tells about itself.
func (s *sayer) update(u nats.Update) {
	switch u.Kind {
	case nats.Synced:
		s.line("at revision %d; what follows is new", u.Revision)
	case nats.Stale:
		s.line("may be out of date: %s", u.Cause)
	case nats.Fresh:
		if u.Revision == 0 { // raw
			s.line("what is published comes again")
			return
		}
		s.line("up to date again, at revision %d", u.Revision)
	case nats.Lost:
		s.line("%s: %s", missed(u), u.Cause)
	}
}

func missed(u nats.Update) string {
	text := "changes may have been missed"
	if u.Key != "" {
		text = "changes of " + fanout.SubjectForm(u.Key) + " were missed"
	}
	if u.Range == (nats.Range{}) {
		return text
	}
	return fmt.Sprintf("%s from revision %d to %d", text, u.Range.From, u.Range.To)
}
