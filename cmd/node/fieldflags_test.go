package main

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/node"
)

// TestFieldsHaveFlags holds that each field of a node's configuration has its flags, which
// the command knows, but for those that no flag sets.
func TestFieldsHaveFlags(t *testing.T) {
	var out, errs strings.Builder
	if code := run([]string{"--help"}, &out, &errs); code != exitOK {
		t.Fatalf("--help: code %d, %s", code, errs.String())
	}
	flag := regexp.MustCompile(`--[a-z-]+`)
	known := flag.FindAllString(out.String(), -1)
	for field, flags := range fieldFlags {
		for _, name := range flag.FindAllString(flags, -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s is said to be %s, which the help does not have", field, name)
			}
		}
	}
	without := []string{"Logger", "Version", "DetailedMetrics", "Ring", "Watchers", "ProgressInterval"} // cannot be wrong, or their parts have flags
	for field := range reflect.TypeFor[node.Config]().Fields() {
		if field.IsExported() && fieldFlags[field.Name] == "" && !slices.Contains(without, field.Name) {
			t.Errorf("no flag for %s", field.Name)
		}
	}
}

// TestFlagsOfWhat holds that flags are named for a configuration only, and each once.
func TestFlagsOfWhat(t *testing.T) {
	if got := flagsOf(errors.New("NATS is down")); got != "" {
		t.Errorf("of another error: %q", got)
	}
	_, err := node.Start(t.Context(), node.Config{DataDir: t.TempDir(), ClusterSecret: "long enough"})
	if got, want := flagsOf(fmt.Errorf("start: %w", err)), " (--cluster-secret, --routes)"; got != want {
		t.Errorf("flags are %q; want %q, of: %v", got, want, err)
	}
}
