package nats

import (
	"fmt"
	"strings"

	"github.com/watchcast/watchcast/fanout"
)

// Default roots of the subjects.
const (
	DefaultWatchRoot = "watch"
	DefaultKVRoot    = "kv"
)

// maxRootBytes leaves room for the longest key, escaped, and a reply subject in
// the control line of a stock NATS server (4,096 bytes). One that is longer makes
// the server cut the connection.
const maxRootBytes = 128

// Subjects knows where things are on the wire. The zero value stands for the
// default roots; they are there after [Subjects.Check].
type Subjects struct {
	// Watch is the root of event subjects, one token or more. Default "watch".
	// What nodes tell each other and clients about the stream itself is under
	// the same root with an underscore before it: "_watch".
	Watch string
	// KV is the root of request subjects. Default "kv".
	KV string
}

// Check fills in the defaults and returns an error wrapping
// [fanout.ErrBadOption] if a root is no literal subject, is too long or reserved,
// or if one contains the other.
func (s *Subjects) Check() error {
	if s.Watch == "" {
		s.Watch = DefaultWatchRoot
	}
	if s.KV == "" {
		s.KV = DefaultKVRoot
	}
	for _, root := range []string{s.Watch, s.KV} {
		if _, err := fanout.ParseSubjectForm(root); err != nil || strings.HasPrefix(root, "$") || strings.HasPrefix(root, "_") {
			return fmt.Errorf("%w: subject root %q; give tokens of letters and digits separated by dots, such as %q", fanout.ErrBadOption, root, DefaultWatchRoot)
		}
	}
	for _, root := range []string{s.Watch, s.KV} {
		if len(root) > maxRootBytes {
			return fmt.Errorf("%w: a subject root has %d bytes; the limit is %d", fanout.ErrBadOption, len(root), maxRootBytes)
		}
	}
	if under(s.Watch, "INBOX") {
		// Only nodes may publish under "_INBOX" then, and no reply arrives.
		return fmt.Errorf("%w: subject root %q; it is reserved, choose another", fanout.ErrBadOption, s.Watch)
	}
	if under(s.Watch, s.KV) || under(s.KV, s.Watch) {
		return fmt.Errorf("%w: subject roots %q and %q; neither may contain the other", fanout.ErrBadOption, s.Watch, s.KV)
	}
	return nil
}

func under(subject, root string) bool {
	return subject == root || strings.HasPrefix(subject, root+".")
}

// Event returns the subject of key's events: watch.<subject form>.
func (s Subjects) Event(key string) string { return s.Watch + "." + fanout.SubjectForm(key) }

// Events returns the subject to subscribe to for a pattern of keys.
func (s Subjects) Events(pattern string) string { return s.Watch + "." + pattern }

// Key returns the key of an event subject. The error wraps [fanout.ErrBadKey].
func (s Subjects) Key(subject string) (string, error) {
	form, ok := strings.CutPrefix(subject, s.Watch+".")
	if !ok {
		return "", fmt.Errorf("%w: subject %q is not under %q", fanout.ErrBadKey, subject, s.Watch)
	}
	return fanout.ParseSubjectForm(form)
}

// Beacon returns the subject on which the leader tells how far it is.
func (s Subjects) Beacon() string { return "_" + s.Watch + ".beacon" }

// Ack returns the subject on which nodes answer the leader's beacons.
func (s Subjects) Ack() string { return "_" + s.Watch + ".ack" }

// Reset returns the subject on which the leader announces ranges of revisions
// whose events may not have been published.
func (s Subjects) Reset() string { return "_" + s.Watch + ".reset" }

// Request returns the subject of an operation on a key: kv.put.<subject form>.
func (s Subjects) Request(op, key string) string {
	return s.KV + "." + op + "." + fanout.SubjectForm(key)
}

// PublishedByNodes returns the subjects on which only nodes may publish. A
// client that could would forge events.
func (s Subjects) PublishedByNodes() []string {
	return []string{s.Watch + ".>", "_" + s.Watch + ".>"}
}

// AnsweredByNodes returns the subjects to which only nodes may subscribe. A
// client that could would read or steal requests.
func (s Subjects) AnsweredByNodes() []string {
	return []string{s.KV + ".>"}
}
