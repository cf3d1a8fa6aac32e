// Package given tells for the commands what they are given, and what is empty.
package given

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// Environment lets go of variables with a prefix that are empty, as whoever fills in a
// template leaves them: they say nothing, not that what a file says does not count.
func Environment(prefix string) {
	for _, line := range os.Environ() {
		if name, value, _ := strings.Cut(line, "="); value == "" && strings.HasPrefix(name, prefix+"_") {
			os.Unsetenv(name) // its only error is a name that no variable has
		}
	}
}

// Flags refuses a flag that the command line names and has nothing for, such as --join
// "$ADDRESS" where that is not set. To pass over it would do something else than was asked.
func Flags(ctx *kong.Context) error {
	for _, p := range ctx.Path {
		if p.Flag != nil && !p.Resolved && empty(p.Flag.Target) {
			return fmt.Errorf("--%s is empty; give a value, or leave it out", p.Flag.Name)
		}
	}
	return nil
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return false // what is no text cannot be read from nothing
}
