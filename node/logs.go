package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// raftLogger returns the logger that Raft and its log store want, writing to
// log.
func raftLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(slogSink{log, newRepeats()})
	return l
}

// ordinaryElection is what Raft warns of at every start of a node that is to
// lead. That an election was needed shows in who leads afterwards.
const ordinaryElection = "heartbeat timeout reached, starting election"

// slogSink receives what is logged through hclog.
type slogSink struct {
	log     *slog.Logger
	repeats *repeats
}

// ordinaryEnd is what Raft's transport says of a connection that broke; also of each that
// this node has closed itself, as it does at every orderly end.
const ordinaryEnd = "failed to decode incoming command"

func (s slogSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	l := slogLevel(level)
	if msg == ordinaryElection || msg == ordinaryEnd && slices.ContainsFunc(args, closedHere) || msg == wrongSum || slices.ContainsFunc(args, knownDamage) {
		l = slog.LevelDebug
	}
	s.repeats.log(s.log.With("part", cmp.Or(name, "raft")), l, name+msg, msg, args...)
}

// wrongSum is what Raft's store says of a snapshot without its name. The node says which it is.
const wrongSum = "CRC checksum failed"

// knownDamage reports whether an argument of a log line is the error of a snapshot that the
// node has told of: Raft tries it again and again. See [Node.replaceDamaged].
func knownDamage(arg any) bool {
	err, ok := arg.(error)
	return ok && errors.Is(err, errDamaged)
}

// closedHere reports whether an argument of a log line is the error of a connection that this
// end has closed.
func closedHere(arg any) bool {
	err, ok := arg.(error)
	return ok && (errors.Is(err, net.ErrClosed) || errors.Is(err, raft.ErrTransportShutdown))
}

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Info:
		// Raft tells of every vote there; an operator wants to hear of it when
		// something is wrong.
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4
}

// brokerLogger is what nats-server logs to.
type brokerLogger struct {
	log     *slog.Logger
	repeats *repeats
	fatal   func(string) // the broker gives up; it does not say so otherwise
}

func (b brokerLogger) Noticef(format string, v ...any) { b.say(slog.LevelDebug, format, v) }
func (b brokerLogger) Warnf(format string, v ...any)   { b.say(slog.LevelWarn, format, v) }
func (b brokerLogger) Errorf(format string, v ...any)  { b.say(slog.LevelError, format, v) }
func (b brokerLogger) Fatalf(format string, v ...any)  { b.fatal(fmt.Sprintf(format, v...)) }
func (b brokerLogger) Debugf(string, ...any)           {}
func (b brokerLogger) Tracef(string, ...any)           {}

// routeTried begins what the broker says when it does not reach another one: at every
// start of several nodes one is up before the others.
const routeTried = "Error trying to connect to route"

func (b brokerLogger) say(level slog.Level, format string, v []any) {
	if strings.HasPrefix(format, routeTried) {
		level = slog.LevelWarn
	}
	// The broker puts in front whom it is about. Strangers without end would have a line each.
	kind := format[strings.LastIndex(format, " - ")+1:]
	b.repeats.log(b.log, level, kind, fmt.Sprintf(format, v...))
}

// A node that is gone has both Raft and the broker complain several times a
// second, and a client that tries what it may not has the broker complain at
// every try.
const (
	repeatPeriod = 10 * time.Second // how often the same complaint is logged
	repeatKinds  = 256              // told apart in a period; the others count as one
)

// repeats lets one line of a kind through in a period, with the number of those
// it held back since the last.
type repeats struct {
	mu    sync.Mutex
	kinds map[string]*repeated // by the text before anything is filled in, as far as it is known
}

type repeated struct {
	last time.Time
	held int
}

func newRepeats() *repeats { return &repeats{kinds: make(map[string]*repeated)} }

func (r *repeats) log(log *slog.Logger, level slog.Level, kind, msg string, args ...any) {
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
	if level >= slog.LevelWarn {
		held, ok := r.admit(kind, time.Now())
		if !ok {
			return
		}
		if held > 0 {
			args = append(args[:len(args):len(args)], "repeated", held)
		}
	}
	log.Log(ctx, level, msg, args...)
}

func (r *repeats) admit(kind string, now time.Time) (held int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kinds[kind]
	if k == nil && len(r.kinds) >= repeatKinds {
		r.forget(now)
		if len(r.kinds) >= repeatKinds {
			kind = ""
			k = r.kinds[kind]
		}
	}
	if k == nil {
		k = &repeated{}
		r.kinds[kind] = k
	}
	if !k.last.IsZero() && now.Sub(k.last) < repeatPeriod {
		k.held++
		return 0, false
	}
	held, k.held, k.last = k.held, 0, now
	return held, true
}

// forget drops the kinds that were not logged for a period: some texts name somebody,
// so they would become more without end.
func (r *repeats) forget(now time.Time) {
	for kind, k := range r.kinds {
		if now.Sub(k.last) >= repeatPeriod {
			delete(r.kinds, kind)
		}
	}
}
