package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const healthDescription = `Asks the node that runs here whether it is ready to serve: it knows a leader and is up to date. For health checks of containers, whose image holds nothing else that could ask.

Environment variables as the node's own, so that in its container node health needs no flags.

Exit codes: 0 ready, 1 not ready or no answer, with one line on standard error that says why.`

type healthFlags struct {
	httpFlags `embed:""`
	Timeout   time.Duration `env:"WATCHCAST_HEALTH_TIMEOUT" placeholder:"TIME" default:"3s" help:"How long to wait for the answer (${default})."`
}

// Validate refuses a time in which nobody can answer.
func (f *healthFlags) Validate() error { return someTime(f.Timeout, "3s") }

// health is the command of that name. Whatever is wrong, flags included, it
// returns exitFailed: Docker reserves the other codes of a health check.
func health(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := &healthFlags{}
	code, done := parse(f, "node health", healthDescription, args, stdout, stderr)
	if done {
		return min(code, exitFailed)
	}
	stopped := ctx
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	if err := askReady(ctx, f.httpFlags); err != nil {
		switch {
		case stopped.Err() != nil:
			err = errors.New("interrupted")
		case errors.Is(err, context.DeadlineExceeded):
			err = fmt.Errorf("the node at %s did not answer within %v; is it starting, stuck or overloaded? see its log", f.HTTP, f.Timeout)
		}
		fmt.Fprintln(stderr, "node health:", oneLine(err))
		return exitFailed
	}
	fmt.Fprintln(stdout, "ready")
	return exitOK
}

// askReady asks /readyz of the node whose --http is addr; nil means it is ready.
func askReady(ctx context.Context, f httpFlags) error {
	addr := f.HTTP
	resp, err := f.ask(ctx, http.MethodGet, "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, shownReason))
	if err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", addr, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusServiceUnavailable:
		return fmt.Errorf("the node at %s is not ready: %s", addr, strings.TrimSpace(string(body)))
	default:
		return fmt.Errorf("%s answers /readyz with %s; is this a Watchcast node's --http?", addr, resp.Status)
	}
}
