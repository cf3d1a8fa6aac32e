package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/watchcast/watchcast/internal/given"
	"github.com/watchcast/watchcast/internal/verbatim"
)

// environment is what the names of variables begin with.
const environment = "WATCHCAST"

// parse fills flags, a pointer to a struct with kong's tags, from args and the
// environment. With done there is nothing to run: help was asked for, or
// something was wrong and has been said.
func parse(flags any, name, description string, args []string, stdout, stderr io.Writer, options ...kong.Option) (code int, done bool) {
	exited := false
	given.Environment(environment)
	parser, err := kong.New(flags, append(options,
		kong.Name(name),
		kong.Description(description),
		kong.DefaultEnvars(environment),
		kong.Writers(stdout, stderr),
		verbatim.Strings(),
		kong.Exit(func(c int) { code, exited = c, true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }),
	)...)
	var parsed *kong.Context
	if err == nil {
		parsed, err = parser.Parse(args)
	}
	if exited {
		return code, true
	}
	if err == nil {
		err = given.Flags(parsed)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %s; see %s --help\n", name, oneLine(err), name)
		return exitUsage, true
	}
	return exitOK, false
}

// oneLine puts an error that has several lines on one.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}
