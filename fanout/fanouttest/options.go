package fanouttest

import (
	"slices"

	"github.com/watchcast/watchcast/fanout"
)

// ReceiverOption says what a receiver may legitimately do or do without.
type ReceiverOption func(*Receiver)

// Conflated is for the policy [fanout.Conflate]: a change may be absent, without
// a marker, if a later one of its key is not.
func Conflated() ReceiverOption {
	return func(r *Receiver) { r.conflated = true }
}

// Ops is for [fanout.WithOps]: changes of other operations are not for the
// receiver.
func Ops(ops ...fanout.Op) ReceiverOption {
	return func(r *Receiver) { r.ops = slices.Clone(ops) }
}

// Initial is for [fanout.WithInitial]: first the state at the start, one Put for
// each key, in any order; then Progress; then the changes.
func Initial() ReceiverOption {
	return func(r *Receiver) { r.initial = true }
}

// OwnLosses is for a receiver that is told of its own losses only: of a live
// watcher beside a dispatcher that was not overtaken ([fanout.Stats].Gaps is 0).
// Then a marker begins and ends with a change that it would have seen. Without
// it a marker may go further, as far as nothing is in the way.
func OwnLosses() ReceiverOption {
	return func(r *Receiver) { r.own = true }
}

// AtLeastOnce is for a receiver at the end of a connection that repeats: it drops
// what lies at or below the last revision that it saw of the key. Order holds
// for each key only, batches may be torn, and PrevValue does not travel.
func AtLeastOnce() ReceiverOption {
	return func(r *Receiver) { r.atLeastOnce = true }
}

// Unmarked is for a plain subscriber, which nobody tells what it lost. It has
// the [Chain] only, which does not show a lost last change of a key. So
// [Receiver.Verify] does not ask whether all was received or flagged, nor whether
// the receiver has the state. It includes [AtLeastOnce].
func Unmarked() ReceiverOption {
	return func(r *Receiver) { r.atLeastOnce, r.unmarked = true, true }
}

// Healing is for a watch that mends itself, as that of a NATS client does: it begins with
// nothing, and is given the state, changes as they come, and where some did not come, the
// difference ([Receiver.Answer]). So it may lack whatever a later change of the key has
// made void, and it flags nothing. But a Progress says that all is there up to its
// revision: the state that came out of what was given by then has that, and in the end
// that of the log. Each key is given in the order of revisions, once each. PrevValue does
// not travel. Start it at 0. The log must not be replaced.
func Healing() ReceiverOption {
	return func(r *Receiver) { r.atLeastOnce, r.healing = true, true }
}

// RereadsWith makes [Receiver.Follow] read the state after each Lagged and Reset,
// as a consumer does that wants to stay in step. It must include whatever was
// pushed by the time of the call.
func RereadsWith(read func() (revision uint64, state State)) ReceiverOption {
	return func(r *Receiver) { r.read = read }
}

// wants reports whether a committed change or Reset is for the receiver.
func (r *Receiver) wants(e *fanout.Event) bool {
	return e.Op == fanout.Reset || r.wantsOp(e.Op) && r.filter.Match(e.Key)
}

func (r *Receiver) wantsOp(op fanout.Op) bool {
	return len(r.ops) == 0 || slices.Contains(r.ops, op)
}
