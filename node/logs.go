package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger returns the logger that Raft and its log store want, writing to
// log.
func raftLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: discard{}, Level: hclog.Off})
	l.RegisterSink(slogSink{log})
	return l
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// ordinaryElection is what Raft warns of at every start of a node that is to
// lead. That an election was needed shows in who leads afterwards.
const ordinaryElection = "heartbeat timeout reached, starting election"

// slogSink receives what is logged through hclog.
type slogSink struct{ log *slog.Logger }

func (s slogSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	l := slogLevel(level)
	if msg == ordinaryElection {
		l = slog.LevelDebug
	}
	if s.log.Enabled(context.Background(), l) {
		s.log.With("part", cmp.Or(name, "raft")).Log(context.Background(), l, msg, args...)
	}
}

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Info:
		// Raft tells of every vote and heartbeat there; an operator wants to
		// hear of it when something is wrong.
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4
}

// brokerLogger is what nats-server logs to.
type brokerLogger struct {
	log   *slog.Logger
	fatal func(string) // the broker gives up; it does not say so otherwise
}

func (b brokerLogger) Noticef(format string, v ...any) { b.log.Debug(fmt.Sprintf(format, v...)) }
func (b brokerLogger) Warnf(format string, v ...any)   { b.log.Warn(fmt.Sprintf(format, v...)) }
func (b brokerLogger) Errorf(format string, v ...any)  { b.log.Error(fmt.Sprintf(format, v...)) }
func (b brokerLogger) Fatalf(format string, v ...any)  { b.fatal(fmt.Sprintf(format, v...)) }
func (b brokerLogger) Debugf(string, ...any)           {}
func (b brokerLogger) Tracef(string, ...any)           {}
