// Command subscriber prints the changes of keys; see subscriber --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/given"
	"github.com/watchcast/watchcast/internal/verbatim"
	"github.com/watchcast/watchcast/nats"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // no connection, or the watch ended; what was wrong is on standard error
	exitUsage  = 2 // flags or environment
)

const description = `Prints the changes of all keys that match one of the patterns, as they are published.

    subscriber mykey            one key
    subscriber 'app.*.color'    * is one token
    subscriber 'app.>' other    > is one or more tokens at the end
    subscriber --state 'app.>'  the present values first, then the changes; what is lost on the way is made up for

Without --state a change that was lost on the way, or published while this program was not connected, is not printed; a line on standard error says that, at the latest with the next change of the key. With --state the newest value is printed in its place: what is printed becomes equal to the store again within seconds, or half a minute where only the last change of a key was lost. When it may be out of date, a line on standard error says so.

Every flag can also be given in the environment (--server as WATCHCAST_SERVER).

Exit codes: 0 stopped or counted to the end, 1 no connection, refused by the server, or cannot print, 2 wrong flags.`

type flags struct {
	State     bool     `help:"Begin with the present values, and make up for what is lost."`
	JSON      bool     `name:"json" help:"Print one JSON object a line."`
	Stats     bool     `help:"Print rate, delay, losses and catch-ups once a second instead of the changes. The delay is from the leader's clock to the clock here."`
	Count     int      `placeholder:"N" help:"Stop after N changes."`
	WatchRoot string   `placeholder:"SUBJECT" default:"watch" help:"Root of the event subjects (${default})."`
	KVRoot    string   `name:"kv-root" placeholder:"SUBJECT" default:"kv" help:"Root of the request subjects (${default})."`
	Patterns  []string `arg:"" name:"pattern" help:"Keys to watch; * and > are wildcards as in NATS subjects."`

	connection
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// stopWait is how long it may take to stop in order.
const stopWait = time.Second

// run does what args say until that is done or ctx ends. What is stuck by then, in a pipe
// that nobody reads or at a server that does not answer, cannot be taken back, and ends
// with the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	done := make(chan int, 1)
	go func() { done <- serve(ctx, args, stdout, stderr) }()
	select {
	case code := <-done:
		return code
	case <-ctx.Done():
	}
	select {
	case code := <-done:
		return code
	case <-time.After(stopWait):
		return exitOK
	}
}

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) int {
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

// environment is what the names of variables begin with.
const environment = "WATCHCAST"

func parse(args []string, stdout, stderr io.Writer) (f *flags, code int, done bool) {
	f = &flags{}
	exited := false
	given.Environment(environment)
	parser, err := kong.New(f,
		kong.Name("subscriber"),
		kong.Description(description),
		kong.DefaultEnvars(environment),
		kong.Writers(stdout, stderr),
		verbatim.Strings(),
		kong.Exit(func(c int) { code, exited = c, true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }),
	)
	var parsed *kong.Context
	if err == nil {
		parsed, err = parser.Parse(args)
	}
	if exited {
		return nil, code, true
	}
	if err == nil {
		err = given.Flags(parsed)
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

var errUsage = errors.New("wrong flags")

// check refuses what no server would make right.
func (f *flags) check() error {
	subjects := f.subjects()
	err := subjects.Check()
	if f.JSON && f.Stats {
		err = errors.New("--json prints changes and --stats figures in their place; give one")
	}
	for _, pattern := range f.Patterns {
		if err == nil {
			err = fanout.CheckPattern(pattern)
		}
	}
	if err == nil {
		err = f.connection.check(subjects)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", errUsage, plain(err))
	}
	return nil
}

func (f *flags) subjects() nats.Subjects { return nats.Subjects{Watch: f.WatchRoot, KV: f.KVRoot} }

// watch prints changes until ctx ends or enough were printed.
func watch(ctx context.Context, f *flags, stdout, stderr io.Writer) error {
	if err := f.check(); err != nil {
		return err
	}
	say := newSayer(stderr)
	conn, err := f.connect(say)
	if err != nil {
		return err
	}
	defer conn.Close()
	client, err := nats.NewClient(nats.ClientOptions{Conn: conn, Subjects: f.subjects(), Logger: slog.New(say)})
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := follow(ctx, client, f.Patterns, nats.WatchOptions{Raw: !f.State})
	if err != nil {
		return err
	}
	defer s.stop()
	out, all := newOutput(f, stdout, say, s), newCondition(len(f.Patterns))
	for printed := 0; f.Count == 0 || printed < f.Count; {
		u, err := s.next(ctx, out.tick())
		switch {
		case err != nil:
			return errors.Join(err, out.end())
		case u.Kind == nats.Changed:
			printed++
			err = out.change(u.Update)
		case u.Kind == 0: // the time to print figures
			err = out.figures()
		case u.Kind == nats.Synced && !f.State: // everything is new
		case all.take(u):
			out.note(u.Update)
			say.update(u.Update)
		}
		if err != nil {
			return cannotPrint(err)
		}
	}
	return cannotPrint(out.end())
}

func cannotPrint(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot print: %w", err)
}
