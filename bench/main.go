// Command bench measures Watchcast, side by side with its peers in one run. The
// goals are those of the design; README.md says what each figure is.
//
//	go run -C bench . --list
//	go run -C bench . [--json] [NAME...]
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // a measure could not be taken, or with --strict a goal was missed
	exitUsage  = 2
)

const description = `Measures Watchcast and its peers.

Without a name all measures are taken, which takes many minutes: slow-tax alone takes two and a half. A name is that of a figure in --list, or the part before its last dash that several share.

Exit codes: 0 measured, whether or not goals are met; 1 a measure failed, or with --strict a goal was missed; 2 wrong flags or an unknown name.`

type flags struct {
	List   bool     `help:"Name the figures, with unit and goal."`
	JSON   bool     `name:"json" help:"Print one JSON object a line."`
	Strict bool     `help:"Exit with 1 if a goal is missed."`
	Tiny   bool     `help:"Measure next to nothing, to see that it works; the figures mean nothing."`
	Dir    string   `placeholder:"DIR" help:"Keep the files of Raft logs below this directory, on a real disk (the system's directory for temporary files)."`
	Sample string   `hidden:"" help:"Take one sample of this measure and print it; how a measure starts a process of its own."`
	Names  []string `arg:"" optional:"" name:"name" help:"Measures or figures to take."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, measures, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with everything it depends on.
func run(ctx context.Context, all []*measure, args []string, stdout, stderr io.Writer) int {
	f, code, done := parse(args, stdout, stderr)
	if done {
		return code
	}
	e := env{tiny: f.Tiny, dir: f.Dir}
	if f.Sample != "" {
		return fail(stderr, printSample(ctx, all, f.Sample, e, stdout))
	}
	if f.List {
		return fail(stderr, list(stdout, all))
	}
	chosen, err := choose(all, f.Names)
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v; --list names them all\n", err)
		return exitUsage
	}
	report := newTable(stdout, all)
	if f.JSON {
		report = newLines(stdout)
	}
	code = exitOK
	for _, m := range all {
		figures := chosen[m]
		if len(figures) == 0 {
			continue
		}
		results, err := m.take(ctx, e)
		if err != nil {
			fail(stderr, fmt.Errorf("%s: %w", m.name, err))
			if ctx.Err() != nil {
				return exitFailed
			}
			code = exitFailed
			continue
		}
		for _, r := range results {
			if !slices.Contains(figures, r.Name) {
				continue
			}
			if err := report(r); err != nil {
				return fail(stderr, err)
			}
			if f.Strict && !r.Pass {
				code = exitFailed
			}
		}
	}
	return code
}

func fail(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "bench:", err)
	return exitFailed
}

// parse reads the flags. With done there is nothing to run: help was asked for,
// or something was wrong and has been said.
func parse(args []string, stdout, stderr io.Writer) (f *flags, code int, done bool) {
	f = &flags{}
	exited := false
	parser, err := kong.New(f,
		kong.Name("bench"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(c int) { code, exited = c, true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
	if err == nil {
		_, err = parser.Parse(args)
	}
	if exited {
		return nil, code, true
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v; see --help\n", err)
		return nil, exitUsage, true
	}
	return f, exitOK, false
}

// choose returns the figures wanted of each measure; all of all without names.
func choose(all []*measure, names []string) (map[*measure][]string, error) {
	chosen := make(map[*measure][]string)
	for _, m := range all {
		for _, f := range m.figures {
			if len(names) == 0 || slices.Contains(names, f.name) || slices.Contains(names, m.name) {
				chosen[m] = append(chosen[m], f.name)
			}
		}
	}
	var unknown []string
	for _, name := range names {
		if !slices.ContainsFunc(all, func(m *measure) bool { return m.knows(name) }) {
			unknown = append(unknown, fmt.Sprintf("%q", name))
		}
	}
	if len(unknown) > 0 {
		return nil, errors.New("there is no measure " + strings.Join(unknown, ", "))
	}
	return chosen, nil
}
