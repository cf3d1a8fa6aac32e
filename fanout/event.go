package fanout

import (
	"strconv"
	"time"
)

// Op says what an [Event] reports: a change of a key, or something about the
// stream itself.
type Op uint8

// Operations on a key.
const (
	Put    Op = iota + 1 // the key has a new value
	Delete               // the key was deleted
	Expire               // the key's time to live ran out
)

// Control events. They carry no key and tell the receiver about the stream.
const (
	// Lagged says that events were lost exactly here: every change the
	// receiver would have seen with a revision in PrevRevision..Revision,
	// both included. All of them were applied before the marker could be
	// received, so a read made afterwards includes them.
	Lagged Op = iota + 101
	// Reset says that the state was replaced as a whole, by a snapshot that
	// stands at Revision. Changes up to it may not have been reported. With a
	// Source it is that producer's state, at its SourceRevision, and says nothing
	// of the others.
	Reset
	// Progress says that everything up to Revision has been seen.
	Progress
)

// String gives the name that goes over the wire: "put", "delete", "expire",
// "lagged", "reset", "progress".
func (op Op) String() string {
	switch op {
	case Put:
		return "put"
	case Delete:
		return "delete"
	case Expire:
		return "expire"
	case Lagged:
		return "lagged"
	case Reset:
		return "reset"
	case Progress:
		return "progress"
	}
	return "op(" + strconv.Itoa(int(op)) + ")"
}

// ParseOp is the inverse of [Op.String].
func ParseOp(s string) (Op, bool) {
	for _, op := range [...]Op{Put, Delete, Expire, Lagged, Reset, Progress} {
		if op.String() == s {
			return op, true
		}
	}
	return 0, false
}

// Event is one committed change of one key, or a control event.
//
// One Event is allocated for a change and shared by everyone who receives it.
// It is immutable from the moment it is handed to [Ring.Push]: receivers must
// not write to it, nor to the bytes of Value and PrevValue.
type Event struct {
	// Key is the key that changed: any non-empty byte string. Empty in
	// control events.
	Key string
	// Value is the new value; nil after a delete or an expiry.
	Value []byte
	// PrevValue is the value before the change; nil if there was none.
	PrevValue []byte
	// Revision is the Raft log index of the change: the same on every node,
	// growing, and sparse for one key. Behind a [Front] it is the front's own
	// count instead, which is of this process only.
	Revision uint64
	// PrevRevision is the revision of this key's previous change, a delete
	// included; 0 if it never existed or its tombstone is forgotten, so 0 is no
	// proof that nothing came before. In a
	// Lagged event it is the first revision of the lost range. Behind a [Front]
	// it stays the producer's, but in a Lagged event: compare it with
	// SourceRevision.
	PrevRevision uint64
	// SourceRevision is the Revision that the producer gave to a [Front]: the
	// index in the log of its own group. 0 without a front.
	SourceRevision uint64
	// Time is when the leader appended the change to its log.
	Time time.Time
	// Batch and BatchSize give the position within an atomic batch, counted
	// from 0. The events of a batch share a Revision, and a key occurs once
	// in it. Both are 0 for a change made on its own.
	Batch, BatchSize uint32
	// Op says what happened.
	Op Op
	// Source is the number of the producer, from 1, behind a [Front]; 0 without
	// one, and in a Lagged event that is not of one producer.
	Source uint16

	// step is how far Revision lies above that of the event before it in the
	// ring, set by Push; 0 if there is none. It is capped (in four bytes it
	// costs none), which may only make the distance look smaller.
	step uint32
}

// Control reports whether the event is about the stream instead of a key.
func (e *Event) Control() bool { return e.Op >= Lagged }

// resetsAll reports whether the event says that everything before it in the ring
// is void: a Reset, but not that of one producer among others.
func (e *Event) resetsAll() bool { return e.Op == Reset && e.Source == 0 }

// counts reports whether the event is one of those that watchers' books count: a
// change, or a Reset. Markers and Progress are about them.
func (e *Event) counts() bool { return e.Op != Lagged && e.Op != Progress }

// sameBatch reports whether both events belong to one atomic batch.
func (e *Event) sameBatch(o *Event) bool {
	return e.inBatch() && !e.Control() && e.Revision == o.Revision
}

// inBatch reports whether the event shares its revision with others.
func (e *Event) inBatch() bool { return e.BatchSize > 1 }

// follows reports whether no event lay between revision and this one, the first
// of its revision, when it was pushed.
func (e *Event) follows(revision uint64) bool {
	return e.step == 0 || e.Revision-uint64(e.step) <= revision
}

// eventOverhead is what an Event costs beside its key and values: the struct
// and its slot, rounded up to what the allocator gives.
const eventOverhead = 192

// bytes is what the event counts against the ring's bound.
func (e *Event) bytes() int64 {
	return eventOverhead + int64(len(e.Key)) + int64(len(e.Value)) + int64(len(e.PrevValue))
}
