package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// list prints every figure with unit and goal.
func list(w io.Writer, all []*measure) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "NAME\tUNIT\tGOAL")
	for _, m := range all {
		for _, f := range m.figures {
			fmt.Fprintf(tab, "%s\t%s\t%s\n", f.name, f.unit, f.goal)
		}
	}
	return tab.Flush()
}

// newLines returns what prints a result as a line of JSON.
func newLines(w io.Writer) func(result) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // goals have < and >
	return func(r result) error { return encoder.Encode(r) }
}

// newTable returns what prints a result as a row for people, each when it is
// there.
func newTable(w io.Writer, all []*measure) func(result) error {
	widths := [...]int{len("NAME"), len("12345.6 bytes/watcher"), len("123456..123456"), len("GOAL")}
	for _, m := range all {
		for _, f := range m.figures {
			widths[0] = max(widths[0], len(f.name))
			widths[3] = max(widths[3], len(f.goal.String()))
		}
	}
	row := func(pass string, columns ...string) error {
		var line strings.Builder
		for i, c := range columns {
			if i < len(widths) {
				c = fmt.Sprintf("%-*s  ", widths[i], c)
			}
			line.WriteString(c)
		}
		_, err := fmt.Fprintf(w, "%-4s  %s\n", pass, strings.TrimRight(line.String(), " "))
		return err
	}
	begun := false
	return func(r result) error {
		if !begun {
			begun = true
			fmt.Fprintf(w, "%s %s/%s, GOMAXPROCS %d\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
			if err := row("", "NAME", "MEDIAN", "MIN..MAX", "GOAL", "BESIDE"); err != nil {
				return err
			}
		}
		pass := "miss"
		if r.Pass {
			pass = "ok"
		}
		spread := short(slices.Min(r.Samples)) + ".." + short(slices.Max(r.Samples))
		var beside []string
		for _, peer := range slices.Sorted(maps.Keys(r.Compare)) {
			beside = append(beside, peer+": "+short(r.Compare[peer]))
		}
		return row(pass, r.Name, short(r.Value)+" "+r.Unit, spread, r.Goal, strings.Join(beside, ", "))
	}
}
