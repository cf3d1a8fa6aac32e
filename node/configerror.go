package node

import (
	"errors"
	"fmt"
	"slices"

	"github.com/watchcast/watchcast/fanout"
)

// ErrConfig refuses a configuration; the text names the field, with the value
// and the mend. It is wrapped by a [*ConfigError].
var ErrConfig = errors.New("node: bad configuration")

// ConfigError says which fields of a [Config] are wrong, or do not go together. It wraps
// [ErrConfig], and what else was in the way, an error of the file system say.
type ConfigError struct {
	// Fields are those that the text speaks of, in its order: of Config, as "Peers", or,
	// below Ring and Watchers and of ProgressInterval, as the options of package fanout,
	// "RingOptions.Slots".
	Fields []string

	reason error
}

func (e *ConfigError) Error() string { return ErrConfig.Error() + ": " + e.reason.Error() }

// Unwrap returns [ErrConfig] and the reason.
func (e *ConfigError) Unwrap() []error { return []error{ErrConfig, e.reason} }

// field is the name of a field of Config in the arguments of badConfig.
type field string

// badConfig is about the fields among its arguments.
func badConfig(format string, args ...any) error {
	e := &ConfigError{reason: fmt.Errorf(format, args...)}
	for _, arg := range args {
		if f, ok := arg.(field); ok && !slices.Contains(e.Fields, string(f)) {
			e.Fields = append(e.Fields, string(f))
		}
	}
	return e
}

// badOption is about an option that package fanout has refused.
func badOption(err error) error {
	e := &ConfigError{reason: err}
	if option, ok := errors.AsType[*fanout.OptionError](err); ok {
		e.Fields = []string{option.Option}
	}
	return e
}
