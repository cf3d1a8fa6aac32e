package fanouttest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fanout"
	. "github.com/watchcast/watchcast/fanout/fanouttest"
)

// promises are the errors, by a short name.
var promises = map[string]error{
	"history":  ErrHistory,
	"foreign":  ErrForeign,
	"order":    ErrOrder,
	"repeat":   ErrRepeat,
	"torn":     ErrTornBatch,
	"lost":     ErrLost,
	"marker":   ErrMarker,
	"chain":    ErrChain,
	"stale":    ErrStale,
	"diverged": ErrDiverged,
}

// broken returns the short names of what err says was broken, in their order.
func broken(err error) string {
	var names []string
	for name, promise := range promises {
		if errors.Is(err, promise) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func pattern(t testing.TB, text string) fanout.Filter {
	t.Helper()
	f, err := fanout.PatternFilter(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// story is what the receivers below are to receive.
func story() *author {
	a := newAuthor()
	a.put(1, "k.a")
	a.put(2, "k.b")
	a.put(3, "k.a")
	a.batch(5, "k.a", "z", "k.c", "-k.b")
	a.put(6, "z")
	a.put(8, "k.b")
	a.del(9, "k.a")
	a.put(10, "k.a")
	a.del(12, "k.b")
	return a
}

// storyWithReset has the state replaced at 7, by one without k.c, in which
// k.b exists again, k.d does not, and k.e is new.
func storyWithReset() *author {
	a := newAuthor()
	a.put(1, "k.a")
	a.put(2, "k.b")
	a.batch(3, "k.a", "-k.b")
	a.put(4, "k.c")
	a.put(5, "k.d")
	a.replace(7, "k.a", "k.b", "k.e", "z")
	a.put(8, "k.b")
	a.put(9, "k.c")
	a.del(10, "k.a")
	return a
}

// TestChecks plays right and wrong histories to a receiver of k.* and compares
// which promises they break: those, and no others.
func TestChecks(t *testing.T) {
	own, initial, conflated := OwnLosses(), Initial(), Conflated()
	puts, dels := Ops(fanout.Put), Ops(fanout.Delete, fanout.Expire)
	again, plain, heals := AtLeastOnce(), Unmarked(), Healing()
	type options = []ReceiverOption
	for _, c := range []struct {
		name    string
		start   uint64
		options options
		line    string
		broken  string
	}{
		{"all", 0, nil, "1 2 3 5 8 9 10 12", ""},
		{"all, own losses", 0, options{own}, "1 2 3 5 8 9 10 12", ""},
		{"from the middle", 3, nil, "5 8 9 10 12", ""},
		{"from between", 7, nil, "8 9 10 12", ""},
		{"from within nothing", 12, nil, "", ""},
		{"another location of time", 11, nil, "12~utc", ""},
		{"no batch in other words", 11, nil, "12~one", ""},

		// Genuine.
		{"wrong value", 0, nil, "1 2 3~value 5 8 9 10 12", "foreign"},
		{"wrong last value", 8, nil, "9 10~value 12", "diverged foreign"},
		{"wrong previous value", 0, nil, "1 2 3~prevvalue 5 8 9 10 12", "foreign"},
		{"no previous value", 0, nil, "1 2 3~noprevvalue 5 8 9 10 12", "foreign"},
		{"wrong previous revision", 0, nil, "1 2 3~prev 5 8 9 10 12", "chain foreign"},
		{"wrong operation", 0, nil, "1 2 3~op 5 8 9 10 12", "foreign"},
		{"wrong time", 0, nil, "1 2 3~time 5 8 9 10 12", "foreign"},
		{"wrong place in a batch", 0, nil, "1 2 3 5:k.a 5:k.c~batch 5:k.b 8 9 10 12", "foreign"},
		{"a batch of none", 0, nil, "1 2 3~batch 5 8 9 10 12", "foreign"},
		{"wrong key", 0, nil, "1 2 3~key 5 8 9 10 12", "chain diverged foreign lost"},
		{"never committed", 0, nil, "1 2 3 5 8 9 10 12 12~revision", "foreign"},
		{"not of the filter", 0, nil, "1 2 3 5 6:z 8 9 10 12", "diverged foreign"},
		{"not of the filter, in a batch", 0, nil, "1 2 3 5:k.a 5:z 5:k.c 5:k.b 8 9 10 12", "diverged foreign"},
		{"not of the operations", 0, options{puts}, "1 2 3 5:k.a 5:k.c 8 9 10", "foreign"},
		{"a reset of nothing", 0, nil, "1 2 3 5 8 9 !10 10 12", "foreign order"},

		// Ordered.
		{"swapped", 0, nil, "1 3 2 5 8 9 10 12", "order"},
		{"swapped changes of a key", 0, nil, "1 2 3 5 8 10 9 12", "order"},
		{"swapped in a batch", 0, nil, "1 2 3 5:k.c 5:k.a 5:k.b 8 9 10 12", "order"},
		{"last comes first", 0, nil, "12 1 2 3 5 8 9 10", "order"},
		{"below the start", 5, nil, "3 8 9 10 12", "order"},
		{"at the start", 5, nil, "5 8 9 10 12", "order"},
		{"a batch interrupted", 0, nil, "1 2 3 5:k.a 8 5:k.c 5:k.b 9 10 12", "order"},

		// Unique.
		{"doubled", 0, nil, "1 2 2 3 5 8 9 10 12", "repeat"},
		{"doubled at the end", 0, nil, "1 2 3 5 8 9 10 12 12", "repeat"},
		{"doubled in a batch", 0, nil, "1 2 3 5:k.a 5:k.a 5:k.c 5:k.b 8 9 10 12", "repeat"},
		{"a batch doubled", 0, nil, "1 2 3 5 5 8 9 10 12", "order repeat"},
		{"doubled later", 0, nil, "1 2 3 5 2 8 9 10 12", "order repeat"},

		// Whole.
		{"batch without its first", 0, nil, "1 2 3 5:k.c 5:k.b 8 9 10 12", "lost torn"},
		{"batch without its middle", 0, nil, "1 2 3 5:k.a 5:k.b 8 9 10 12", "diverged lost torn"},
		{"batch without its last", 0, nil, "1 2 3 5:k.a 5:k.c 8 9 10 12", "lost torn"},
		{"batch in part, flagged before", 0, nil, "1 2 3 L4-5 5:k.c 5:k.b 8 9 10 12", "marker order torn"},
		{"batch in part, flagged behind", 0, nil, "1 2 3 5:k.a 5:k.c L5-5 8 9 10 12", "marker order torn"},
		{"batch lost as a whole", 0, options{own}, "1 2 3 L5-5 R6 8 9 10 12", ""},

		// ReliableOrFlagged.
		{"nothing", 0, nil, "", "diverged lost"},
		{"missing", 0, nil, "1 2 5 8 9 10 12", "lost"},
		{"missing first", 0, nil, "2 3 5 8 9 10 12", "lost"},
		{"missing batch", 0, nil, "1 2 3 8 9 10 12", "diverged lost"},
		{"missing delete", 0, nil, "1 2 3 5 8 10 12", "lost"},
		{"missing delete at the end", 0, nil, "1 2 3 5 8 9 10", "diverged lost"},
		{"lost and flagged", 0, options{own}, "1 2 L3-8 R8 9 10 12", ""},
		{"lost at the beginning", 0, options{own}, "L1-3 R4 5 8 9 10 12", ""},
		{"lost at the end", 0, options{own}, "1 2 3 5 8 9 L10-12 R12", ""},
		{"all lost", 0, options{own}, "L1-12 R12", ""},
		{"two markers in a row", 0, options{own}, "1 L2-3 R3 L5-8 R8 9 10 12", ""},
		{"read later than the marker", 0, options{own}, "1 2 L3-5 8 9 R12 10 12", ""},
		{"read more than received", 0, options{own}, "1 2 L3-5 R10 8 9 10 12", ""},
		{"marker too narrow in front", 0, nil, "1 2 L4-8 R8 9 10 12", "lost"},
		{"marker too narrow behind", 0, nil, "1 2 L3-7 R8 9 10 12", "lost"},
		{"marker beside the loss", 0, nil, "1 2 3 8 L9-9 R9 10 12", "lost"},
		{"ended, and said so", 0, nil, "1 2 3 END", ""},
		{"ended in the middle of a loss", 0, nil, "1 3 END", "diverged lost"},
		{"ended at once", 0, nil, "END", ""},
		{"closed, which tells nothing", 0, nil, "1 2 3 CLOSED", "diverged lost"},

		// Exact.
		{"marker of what the dispatcher lost", 0, nil, "1 2 3 5 L6-7 R7 8 9 10 12", ""},
		{"marker wider than the loss", 0, nil, "1 2 L3-7 R7 8 9 10 12", ""},
		{"marker wider than an own loss, behind", 0, options{own}, "1 2 L3-7 R7 8 9 10 12", "marker"},
		{"marker wider than an own loss, in front", 0, options{own}, "1 2 3 L4-8 R8 9 10 12", "marker"},
		{"marker of no loss", 0, nil, "1 2 3 L4-4 R4 5 8 9 10 12", "marker"},
		{"marker behind everything", 0, nil, "1 2 3 5 8 9 10 12 L13-14 R14", "marker"},
		{"marker over what was received before", 0, nil, "1 2 L2-3 R3 5 8 9 10 12", "marker order"},
		{"marker over what is received behind", 0, nil, "1 2 L3-5 R5 5 8 9 10 12", "marker order"},
		{"marker below the start", 2, nil, "L2-3 R3 5 8 9 10 12", "marker order"},
		{"marker backwards", 0, nil, "1 2 L4-3 R4 5 8 9 10 12", "lost marker"},
		{"marker backwards, and all of that again", 0, nil, "1 2 L4-1 2 3 5 8 9 10 12", "marker order repeat"},
		{"marker too late", 0, nil, "1 2 5 L3-3 R5 8 9 10 12", "order"},
		{"marker too early", 0, nil, "1 L3-3 R3 2 5 8 9 10 12", "order"},
		{"marker twice", 0, nil, "1 2 L3-3 L3-3 R3 5 8 9 10 12", "order"},
		{"ended for no reason", 0, nil, "1 2 3 5 8 9 10 12 END", "marker"},

		// Converged.
		{"no read after a loss", 0, nil, "1 L2-5 8 9 10 12", "diverged"},
		{"no read after a loss that made no difference", 0, nil, "1 L2-3 5 8 9 10 12", ""},
		{"a read lacks a key", 0, nil, "1 L2-3 R3~less 5 8 9 10 12", "diverged"},
		{"a read has a key too many", 0, nil, "1 L2-3 R3~more 5 8 9 10 12", "diverged"},
		{"a read has a wrong value", 0, nil, "1 L2-3 R3~value 5 8 9 10 12", "diverged"},
		{"a read has a wrong revision", 0, nil, "1 L2-3 R3~older 5 8 9 10 12", "diverged"},
		{"a read has other keys", 0, nil, "1 L2-3 R3~foreign 5 8 9 10 12", ""},
		{"a read lacks what the marker covers", 0, nil, "1 L2-3 R2 5 8 9 10 12", "stale"},
		{"a read lacks what was received", 0, nil, "1 2 3 R2 5 8 9 10 12", "stale"},
		{"a read below the start", 3, nil, "R2 5 8 9 10 12", "stale"},
		{"a read at the start", 3, nil, "R3 5 8 9 10 12", ""},
		{"a read older than the last", 0, nil, "1 2 3 R8 R5 5 8 9 10 12", "stale"},

		// Progress.
		{"progress", 0, nil, "P0 1 P1 2 3 P4 P4 5 P7 8 9 10 12 P12 P20", ""},
		{"progress over a loss", 0, nil, "1 2 L3-5 P5 R5 8 9 10 12", ""},
		{"progress too early", 0, nil, "1 2 P3 3 5 8 9 10 12", "lost order"},
		{"progress over what is missing", 0, nil, "1 2 P4 5 8 9 10 12", "lost"},
		{"progress before its marker", 0, nil, "1 2 P3 L3-3 R3 5 8 9 10 12", "lost order"},
		{"progress backwards", 0, nil, "1 2 3 P2 5 8 9 10 12", "order"},
		{"progress within a batch", 0, nil, "1 2 3 5:k.a P5 5:k.c 5:k.b 8 9 10 12", "lost order"},

		// An initial state.
		{"state, then changes", 5, options{initial}, "S5 P5 8 9 10 12", ""},
		{"no key in the state", 0, options{initial}, "P0 1 2 3 5 8 9 10 12", ""},
		{"state without its end", 5, options{initial}, "S5", "diverged lost"},
		{"neither state nor end", 5, options{initial}, "", "diverged lost"},
		{"state without its end, and nothing else to come", 12, options{initial}, "S12", "lost"},
		{"state has another operation", 5, options{initial}, "5:k.a~op 5:k.c P5 8 9 10 12", "foreign"},
		{"state lacks a key", 5, options{initial}, "S5~less P5 8 9 10 12", "lost"},
		{"state has a key too many", 5, options{initial}, "S5~more P5 8 9 10 12", "diverged foreign"},
		{"state has a wrong value", 5, options{initial}, "S5~value P5 8 9 10 12", "foreign"},
		{"state of an older revision", 5, options{initial}, "S3 P5 8 9 10 12", "diverged foreign lost"},
		{"state of the filter only", 5, options{initial}, "S5~foreign P5 8 9 10 12", "diverged foreign"},
		{"state has a key twice", 5, options{initial}, "S5 5:k.a P5 8 9 10 12", "repeat"},
		{"state has a delete", 5, options{initial}, "S5 5:k.b P5 8 9 10 12", "foreign"},
		{"state has a marker", 5, options{initial}, "S5 L1-2 P5 8 9 10 12", "order"},
		{"state ends elsewhere", 5, options{initial}, "S5 P6 8 9 10 12", "order"},
		{"state repeated as a change", 5, options{initial}, "S5 P5 5 8 9 10 12", "order repeat"},
		{"state without an initial one", 5, nil, "S5 P5 8 9 10 12", "foreign order"},
		{"ended in the state", 5, options{initial}, "5:k.a END", ""},
		{"state of puts, of which it wants none", 5, options{initial, dels}, "P5 9:k.a 12:k.b", ""},

		// Operations.
		{"puts", 0, options{puts}, "1 2 3 5:k.a 5:k.c 8 10", ""},
		{"deletes", 0, options{dels}, "5:k.b 9 12", ""},
		{"puts with one missing", 0, options{puts}, "1 2 3 5:k.a 5:k.c 8", "diverged lost"},
		{"puts of a batch torn", 0, options{puts}, "1 2 3 5:k.a 8 10", "diverged lost torn"},
		{"puts, and a read among them", 0, options{puts}, "1 2 L3-8 R9 10", ""},

		// Conflation.
		{"conflated", 0, options{conflated}, "5:k.c 10 12", ""},
		{"conflated within a batch", 0, options{conflated}, "1 2 3 5:k.c 5:k.b 9 10 12", ""},
		{"conflated, newest of a key missing", 0, options{conflated}, "1 2 3 5 8 9 10", "diverged lost"},
		{"conflated, a batch torn", 0, options{conflated}, "1 2 3 5:k.a 8 9 10 12", "diverged lost torn"},
		{"conflated and out of order", 0, options{conflated}, "5:k.c 12 10", "order"},
		{"conflated and flagged", 0, options{conflated}, "5:k.c L6-11 R11 12", ""},
		{"conflated, progress where the newest is yet to come", 0, options{conflated}, "1 2 P3 5:k.c 10 12", "lost"},
		{"conflated, progress over what is superseded", 0, options{conflated}, "2 3 P3 5:k.c 10 12", ""},
		{"not allowed to conflate", 0, nil, "1 2 3 5 8 10 12", "lost"},

		// Repeats.
		{"again", 0, options{again}, "1 2 3 5 2 3 5:k.c 8 9 8 10 12", ""},
		{"again, and older ones later", 0, options{again}, "2 3 1 5:k.c 5:k.a 5:k.b 9 8 10 12 9~noprevvalue", ""},
		{"again, and wrong", 0, options{again}, "1 2 3 5 2 3~value 8 9 10 12", "foreign"},
		{"again, and one missing", 0, options{again}, "1 2 3 5 2 3 8 9 12", "diverged lost"},
		{"again, and progress past the end too early", 0, options{again}, "1 2 3 5 8 9 10 P20 12", "lost"},
		{"again, flagged over what was received", 0, options{again}, "1 2 3 5 L2-12 R12", ""},
		{"again, marker backwards", 0, options{again}, "1 2 3 5 L12-11 R12 8 9 10 12", "marker"},
		{"again, flagged of its key", 0, options{again}, "1 2 L3-5:k.a 5:k.c 5:k.b 8 9 10 12 R12", ""},
		{"again, flagged of another key", 0, options{again}, "1 2 L3-5:k.c 5:k.b 8 9 10 12 R12", "lost"},
		{"again, flagged of a key and received", 0, options{again}, "1 2 L3-5:k.a 5 8 9 10 12 R12", "marker"},
		{"again, flagged of a key and received before", 0, options{again}, "1 2 3 5 8 9 L3-5:k.a 10 12 R12", "marker"},
		{"again, flagged of a key of which there is nothing", 0, options{again}, "1 2 3 5 8 9 10 L9-11:k.b 12 R12", "marker"},
		{"again, flagged of a key and backwards", 0, options{again}, "1 2 3 5 8 9 10 L9-8:k.a 12 R12", "marker"},

		// Healing.
		{"heals nothing", 0, options{heals}, "1 2 3 P4 5 8 9 P9 10 12", ""},
		{"heals, begins with a state", 0, options{heals}, "A5:k.a A5:k.c P5 8 9 10 12", ""},
		{"heals, the state misses a key", 0, options{heals}, "A5:k.a P5 8 9 10 12", "diverged lost"},
		{"heals, the state misses what follows", 0, options{heals}, "A5:k.a P5 5:k.c 8 9 10 12", "lost"},
		{"heals what did not come", 0, options{heals}, "1 2 A8:k.b 9 5:k.c A10:k.a P10 12", ""},
		{"heals, a deletion that a list shows", 0, options{heals}, "1 2 A6:k.b A9:k.a 5:k.c 10 12", ""},
		{"heals, a deletion it need not know", 0, options{heals}, "10 A6:k.c P12", ""},
		{"heals, a deletion that was not given", 0, options{heals}, "10 A6:k.c 8 P12", "diverged lost"},
		{"heals, progress before a deletion", 0, options{heals}, "1 2 A6:k.c P6 A6:k.a 8 9 10 12", "lost"},
		{"heals, an older value", 0, options{heals}, "1 2 3 5 8 9 12", "diverged lost"},
		{"heals, a wrong value", 0, options{heals}, "A5:k.a A5:k.c~value 10 12", "diverged foreign"},
		{"heals, what was replaced before", 0, options{heals}, "1 2 A10:k.a~older 5:k.c 12", "diverged foreign lost"},
		{"heals, a deletion of what exists", 0, options{heals}, "A5:k.a A5:k.c 10 A11:k.b~op 12", "foreign"},
		{"heals, another filter's key", 0, options{heals}, "A5:k.a A5:k.c 10 12 A6:z", "foreign"},
		{"heals, a key that never was", 0, options{heals}, "A5:k.a A5:k.c 10 12 A6:k.x", "foreign"},
		{"heals, again", 0, options{heals}, "1 2 3 3 5 8 9 10 12", "order"},
		{"heals, an older one later", 0, options{heals}, "1 3 2 5 9 8 10 9 12", "order"},
		{"heals, an answer below what came", 0, options{heals}, "1 2 3 5 8 9 10 A9:k.a 12", "order"},
		{"heals, wrong as it came", 0, options{heals}, "1 2 3 5 8~value 9 10 12", "foreign"},
		{"plain, losses at the end", 0, options{plain}, "1 2 3 5 8", ""},
		{"plain, losses in between", 0, options{plain}, "1 5:k.a 8 10", ""},
		{"plain, and wrong", 0, options{plain}, "1 5:k.a 8~value", "foreign"},
		{"plain, a chain that shows what was not lost", 0, options{plain}, "1 3~prev", "chain foreign"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := script{author: story(), filter: pattern(t, "k.*")}
			r := s.log.Receiver(c.name, s.filter, c.start, c.options...)
			s.play(t, r, c.line)
			if err := r.Verify(12); broken(err) != c.broken {
				t.Errorf("%q breaks %q, want %q: %v", c.line, broken(err), c.broken, err)
			}
		})
	}
}

// TestChecksAcrossReset does the same where the state is replaced.
func TestChecksAcrossReset(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []ReceiverOption
		line    string
		broken  string
	}{
		{"all", nil, "1 2 3 4 5 !7 R7 8 9 10", ""},
		{"nothing before", nil, "!7 R7 8 9 10", ""},
		{"read late", nil, "1 2 3 4 5 !7 8 R9 9 10", ""},
		{"reset within a range", nil, "1 2 3 L4-7 R7 8 9 10", ""},
		{"reset within a larger range", nil, "1 2 3 L4-8 R8 9 10", ""},
		{"conflated", []ReceiverOption{Conflated()}, "!7 R7 8 9 10", ""},
		{"reset lost", nil, "1 2 3 4 5 8 9 10", "diverged lost"},
		{"reset twice", nil, "1 2 3 4 5 !7 !7 R7 8 9 10", "order repeat"},
		{"reset elsewhere", nil, "1 2 3 4 5 !6 R7 8 9 10", "foreign lost"},
		{"reset too late", nil, "1 2 3 4 5 8 !7 R8 9 10", "order"},
		{"reset too early", nil, "1 2 !7 R7 3 4 5 8 9 10", "order"},
		{"change behind reset lost", nil, "1 2 3 4 5 !7 R7 9 10", "diverged lost"},
		{"no read", nil, "1 2 3 4 5 !7 8 9 10", "diverged"},
		{"no read of a key that is new", nil, "1 2 3 !7 8 9 10", "diverged"},
		{"a read that is too old", nil, "1 2 3 4 5 !7 R4 R7 8 9 10", "stale"},
		{"a read of what was before", nil, "1 2 3 4 5 !7 R7~less 8 9 10", "diverged"},
		{"batch torn before", nil, "1 2 3:k.a !7 R7 8 9 10", "torn"},
		{"plain, told", []ReceiverOption{Unmarked()}, "1 !7 R7 8 10", ""},
		{"plain, not told", []ReceiverOption{Unmarked()}, "1 2 3 4 5 8 9 10", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := script{author: storyWithReset(), filter: pattern(t, "k.*")}
			r := s.log.Receiver(c.name, s.filter, 0, c.options...)
			s.play(t, r, c.line)
			if err := r.Verify(10); broken(err) != c.broken {
				t.Errorf("%q breaks %q, want %q: %v", c.line, broken(err), c.broken, err)
			}
		})
	}
}

// complaints stands in for a test that fails.
type complaints []string

func (c *complaints) Helper() {}
func (c *complaints) Errorf(format string, args ...any) {
	*c = append(*c, fmt.Sprintf(format, args...))
}

// TestCheckReports: each promise that is broken is reported on its own, with the
// receiver, the event and its neighbours.
func TestCheckReports(t *testing.T) {
	s := script{author: story(), filter: pattern(t, "k.*")}
	r := s.log.Receiver("the reader", s.filter, 0)
	s.play(t, r, "1 2 3~value 3 8 9 10 12")
	var got complaints
	r.Check(&got, 12)
	if len(got) != 4 { // foreign, repeat, lost, diverged
		t.Fatalf("%d reports: %q", len(got), got)
	}
	for _, want := range []string{`"the reader"`, "k.*", `> put "k.a" at 3`, `put "k.b" at 2`, `want "3"`} {
		if !strings.Contains(got[0], want) {
			t.Errorf("the report lacks %s: %s", want, got[0])
		}
	}
	if !strings.Contains(got[2], `"k.a" at 5, 1 of 4 was neither`) || !strings.Contains(got[2], `> put "k.b" at 8`) {
		t.Errorf("the report of a loss does not say what and where: %s", got[2])
	}
}

// TestReceiveNil: what is no event was not committed.
func TestReceiveNil(t *testing.T) {
	r := NewLog().Receiver("nil", pattern(t, ">"), 0)
	r.Receive(nil)
	if err := r.Genuine(); broken(err) != "foreign" {
		t.Errorf("Genuine gives %v", err)
	}
}

// TestThrough: a watcher that was stopped is checked as far as it came.
func TestThrough(t *testing.T) {
	for line, want := range map[string]uint64{
		"":                  0,
		"1 2 3":             3,
		"1 2 3 P4":          4,
		"1 L2-4":            4,
		"1 2 3 5":           5,
		"1 2 3 5:k.a":       4, // the rest of the batch was discarded
		"1 2 3 5:k.a 5:k.c": 4,
	} {
		s := script{author: story(), filter: pattern(t, "k.*")}
		r := s.log.Receiver(line, s.filter, 0)
		s.play(t, r, line)
		r.End(fanout.ErrClosed)
		if got := r.Through(); got != want {
			t.Errorf("%q is through %d, want %d", line, got, want)
		}
		if line == "1 L2-4" {
			continue // it has not read again
		}
		if err := r.Verify(r.Through()); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}
