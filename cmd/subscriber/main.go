// Command subscriber prints the changes of keys; see subscriber --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // no connection; what was wrong is on standard error
	exitUsage  = 2 // flags or environment
)

// serverPing is how often the server is asked whether it is still there. A
// machine or a network that vanishes closes no connection; what is published
// until that is noticed, after two to three times this, is lost.
const serverPing = time.Second

const description = `Prints the changes of all keys that match one of the patterns, as they are published.

    subscriber mykey            one key
    subscriber 'app.*.color'    * is one token
    subscriber 'app.>' other    > is one or more tokens at the end

A change that was published while this program was not connected is not printed; a line on standard error says when that may have happened.

Every flag can also be given in the environment (--server as WATCHCAST_SERVER).

Exit codes: 0 stopped or counted to the end, 1 no connection, 2 wrong flags.`

type flags struct {
	Server    string   `short:"s" placeholder:"URL,..." default:"nats://127.0.0.1:4222" help:"NATS servers (${default})."`
	JSON      bool     `name:"json" help:"Print one JSON object a line."`
	Count     int      `placeholder:"N" help:"Stop after N changes."`
	WatchRoot string   `placeholder:"SUBJECT" default:"watch" help:"Root of the event subjects (${default})."`
	Patterns  []string `arg:"" name:"pattern" help:"Keys to watch; * and > are wildcards as in NATS subjects."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, code, done := parse(args, stdout, stderr)
	if done {
		return code
	}
	err := watch(ctx, f, stdout, stderr)
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "subscriber: %v; see subscriber --help\n", err)
		return exitUsage
	}
	fmt.Fprintln(stderr, "subscriber:", err)
	return exitFailed
}

func parse(args []string, stdout, stderr io.Writer) (f *flags, code int, done bool) {
	f = &flags{}
	exited := false
	parser, err := kong.New(f,
		kong.Name("subscriber"),
		kong.Description(description),
		kong.DefaultEnvars("WATCHCAST"),
		kong.Writers(stdout, stderr),
		kong.Exit(func(c int) { code, exited = c, true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }),
	)
	if err == nil {
		_, err = parser.Parse(args)
	}
	if exited {
		return nil, code, true
	}
	if err == nil && f.Count < 0 {
		err = fmt.Errorf("--count is %d; give a positive number", f.Count)
	}
	if err != nil {
		fmt.Fprintf(stderr, "subscriber: %v; see subscriber --help\n", err)
		return nil, exitUsage, true
	}
	return f, exitOK, false
}

var errUsage = errors.New("wrong pattern")

// check refuses what no server would make right.
func (f *flags) check() error {
	subjects := nats.Subjects{Watch: f.WatchRoot}
	err := subjects.Check()
	for _, pattern := range f.Patterns {
		if err == nil {
			err = fanout.CheckPattern(pattern)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %s", errUsage, strings.TrimPrefix(err.Error(), "fanout: "))
	}
	return nil
}

// watch prints changes until ctx ends or enough were printed.
func watch(ctx context.Context, f *flags, stdout, stderr io.Writer) error {
	if err := f.check(); err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(stderr, "subscriber: "+format+"\n", args...) }
	conn, err := natsgo.Connect(f.Server,
		natsgo.Name("watchcast subscriber"),
		natsgo.MaxReconnects(-1),
		natsgo.PingInterval(serverPing),
		natsgo.MaxPingsOutstanding(2),
		natsgo.DisconnectErrHandler(func(_ *natsgo.Conn, err error) {
			if err != nil {
				say("disconnected, changes may be missed: %v", err)
			}
		}),
		natsgo.ReconnectHandler(func(c *natsgo.Conn) { say("connected again, to %s", c.ConnectedUrlRedacted()) }),
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			say("changes were missed: %v", err)
		}),
	)
	if err != nil {
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err // without the URL
		}
		return fmt.Errorf("cannot connect to %s: %w; is a node running there?", nats.Redact(f.Server), err)
	}
	defer conn.Close()
	sub, err := nats.Subscribe(conn, nats.Subjects{Watch: f.WatchRoot}, f.Patterns...)
	if err != nil {
		return err
	}
	print := lines(stdout)
	if f.JSON {
		print = objects(stdout)
	}
	for printed := 0; f.Count == 0 || printed < f.Count; {
		e, err := sub.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			say("%v", err)
			continue
		}
		if e.Control() {
			say("changes may be missed from revision %d to %d: %s", e.PrevRevision, e.Revision, e.Op)
			continue
		}
		if err := print(e); err != nil {
			return fmt.Errorf("cannot print: %w", err)
		}
		printed++
	}
	return nil
}
