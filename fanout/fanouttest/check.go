package fanouttest

import "errors"

// TB is what [Receiver.Check] needs of a test: [testing.TB] has it, and so has a
// property test's.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
}

// Check makes every check and reports each that fails. through is a revision that
// the watcher was good for, as in [Receiver.ReliableOrFlagged]: when all is
// drained, [Log.Last]; for a watcher that was stopped, [Receiver.Through].
func (r *Receiver) Check(t TB, through uint64) {
	t.Helper()
	for _, err := range r.checks(through) {
		if err != nil {
			t.Errorf("%v", err)
		}
	}
}

// Verify makes every check and returns all that failed, joined; nil if none did.
// See [Receiver.Check].
func (r *Receiver) Verify(through uint64) error {
	return errors.Join(r.checks(through)...)
}

// checks makes those that apply. A receiver whose watcher ended because it lagged
// keeps its promises as far as it came.
func (r *Receiver) checks(through uint64) []error {
	if err := r.log.Err(); err != nil {
		return []error{err}
	}
	if r.history().cancelled() {
		through = min(through, r.Through())
	}
	all := []error{
		r.Genuine(),
		r.Ordered(),
		r.Unique(),
		r.Whole(through),
		r.Exact(),
		r.Chained(),
	}
	if !r.unmarked {
		all = append(all, r.ReliableOrFlagged(through), r.Converged(through))
	}
	return all
}
