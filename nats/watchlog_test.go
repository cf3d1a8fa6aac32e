package nats

import (
	"context"
	"log/slog"
	"testing"
)

// askingHandler asks something before it writes a line.
type askingHandler struct {
	slog.Handler
	ask func()
}

func (h askingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h askingHandler) Handle(context.Context, slog.Record) error {
	h.ask()
	return nil
}

// TestLoggerDoesNotHoldTheWatch: a logger may take its time with what a watch says, and ask it
// something. The consumer, and who ends the watch, do not wait for it.
func TestLoggerDoesNotHoldTheWatch(t *testing.T) {
	w := heldWatch(t, 4)
	logged := false
	w.client.o.Logger = slog.New(askingHandler{slog.DiscardHandler, func() {
		logged = true
		if !w.mu.TryLock() {
			t.Fatal("who asks the watch within its logger waits for ever")
		}
		w.mu.Unlock()
	}})
	w.doubt(doubt{cause: "something"})
	if !logged || w.doubts != 2 {
		t.Errorf("logged: %v; %d doubts", logged, w.doubts)
	}
}
