// Command node runs a Watchcast node; see node --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/watchcast/watchcast/node"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the node could not start or stop; what was wrong is on standard error
	exitUsage  = 2 // flags, environment or configuration file
	exitItself = 3 // the node stopped by itself; see node.Node.Failed
)

// patience is how long the node waits for a leader before it says so.
const patience = 5 * time.Second

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	// The first signal stops the node, a second one the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	// By hand, because a command in the parser would take the node's flags out
	// of node --help.
	if len(args) > 0 {
		switch args[0] {
		case "health":
			return health(ctx, args[1:], stdout, stderr)
		case "demo":
			return demoCommand(ctx, args[1:], stdout, stderr)
		case "members", "promote", "demote", "remove", "leave":
			return membersCommand(ctx, args[0], args[1:], stdout, stderr)
		case "backup":
			return backup(ctx, args[1:], stdout, stderr)
		case "restore":
			return restore(ctx, args[1:], stdout, stderr)
		}
	}
	flags, code, done := parseNode(args, stdout, stderr)
	if done {
		return code
	}
	// To serve is worth more than to say so: where nobody reads its log any more, the node
	// goes on. By itself the process would end with its next line, and not in order.
	signal.Ignore(syscall.SIGPIPE)
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: flags.level()}))
	if err := serve(ctx, flags, log, stdout); err != nil {
		fmt.Fprintln(stderr, "node:", strings.TrimPrefix(oneLine(err), "node: ")+flagsOf(err))
		switch {
		case errors.Is(err, node.ErrConfig):
			return exitUsage
		case errors.Is(err, node.ErrJoin): // it never took part, whatever the reason
			return exitFailed
		case errors.Is(err, node.ErrStorage), errors.Is(err, node.ErrOtherCluster), errors.Is(err, node.ErrSameID), errors.Is(err, node.ErrBroker):
			return exitItself
		}
		return exitFailed
	}
	return exitOK
}

func serve(ctx context.Context, f *flags, log *slog.Logger, stdout io.Writer) (err error) {
	n, err := node.Start(ctx, f.config(log))
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		return err
	}
	defer func() {
		closeErr := n.Close()
		if failed := n.Err(); failed != nil {
			err = failed // what goes wrong then is a consequence
			return
		}
		err = errors.Join(err, closeErr)
	}()
	ctx, done := untilFailed(ctx, n)
	defer done()
	if !ready(ctx, n, log) {
		return nil
	}
	greet(stdout, f, n)
	if f.Demo {
		demo(ctx, embedded(n, log))
	} else {
		<-ctx.Done()
	}
	log.Info("stopping", "node", n.ID())
	return nil
}

// untilFailed returns a context that also ends when the node stops by itself. done
// ends it, and waits for the goroutine behind it.
func untilFailed(ctx context.Context, n *node.Node) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		select {
		case <-n.Failed():
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		wg.Wait()
	}
}

// ready waits until the node can serve, and says what it waits for if that
// takes long; false if ctx ended before.
func ready(ctx context.Context, n *node.Node, log *slog.Logger) bool {
	for {
		wait, cancel := context.WithTimeout(ctx, patience)
		err := n.WaitReady(wait)
		cancel()
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, node.ErrRemoved): // the node has said so; it serves stale reads, and its data
			<-ctx.Done()
			return false
		}
		log.Warn("waiting for a leader; are a majority of the nodes up and connected?", "node", n.ID())
	}
}
