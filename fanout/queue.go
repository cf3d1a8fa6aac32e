package fanout

// queue is the slots of a buffer, a ring that grows on need.
type queue struct {
	ring     []*Event    // nil slots: see conflation
	conflate *conflation // with Conflate
	head     uint32      // index of the oldest slot
	n        uint32      // slots in use
	events   uint32      // changes in these
	begun    uint32      // slots at the front that belong to a batch of which some was taken
	few      [fewSlots]*Event
}

// fewSlots come with the queue: enough for a watcher with the default buffer, and a
// marker.
const fewSlots = DefaultBuffer + 1

// newQueue returns an empty queue with so many slots.
func newQueue(slots int) *queue {
	q := new(queue)
	if q.ring = q.few[:]; slots > fewSlots {
		q.ring = make([]*Event, slots)
	}
	return q
}

func (q *queue) slot(i uint32) **Event { return &q.ring[q.index(i)] }

func (q *queue) index(i uint32) uint32 {
	if i += q.head; i >= uint32(len(q.ring)) {
		i -= uint32(len(q.ring))
	}
	return i
}

func (q *queue) append(e *Event) {
	if q.n == uint32(len(q.ring)) {
		q.grow()
	}
	q.n++
	*q.slot(q.n - 1) = e
	if e.counts() {
		q.events++
	}
}

// grow makes room for as much again.
func (q *queue) grow() {
	bigger := make([]*Event, 2*len(q.ring))
	for i := range q.n {
		bigger[i] = *q.slot(i)
	}
	q.few = [fewSlots]*Event{}
	q.ring, q.head = bigger, 0
}

// front returns the oldest event; nil if there is none.
func (q *queue) front() *Event {
	if q.conflate != nil {
		q.skipHoles()
	}
	if q.n == 0 {
		return nil
	}
	return *q.slot(0)
}

// pop removes the oldest event and returns it; nil if there is none.
func (q *queue) pop() *Event {
	e := q.front()
	if e == nil {
		return nil
	}
	*q.slot(0) = nil
	q.n--
	q.head = q.index(1)
	if e.counts() {
		q.events--
	}
	switch {
	case q.conflate != nil:
		q.conflate.taken(e)
		q.shrink()
	case q.begun > 0:
		q.begun--
	case e.inBatch():
		for q.begun < q.n && (*q.slot(q.begun)).sameBatch(e) {
			q.begun++
		}
	}
	return e
}

// shrink gives the slots back if nothing is held.
func (q *queue) shrink() {
	if q.n == 0 {
		q.ring, q.head = q.few[:], 0
	}
}

// dropFront loses the oldest revision, with the markers around it, and leaves
// one marker for all. It returns how many changes that were; 0 if none may go.
func (q *queue) dropFront() (changes uint32) {
	var marker *Event
	var from, to uint64
	end := q.begun
	for ; end < q.n; end++ {
		e := *q.slot(end)
		switch {
		case e.Op == Lagged:
			if marker = e; from == 0 {
				from = e.PrevRevision
			}
			to = e.Revision
		case changes > 0 && e.Revision != to:
			return q.cutFront(end, marker, from, to, changes)
		default:
			if from == 0 {
				from = e.Revision
			}
			to = e.Revision
			changes++
		}
	}
	if changes == 0 {
		return 0
	}
	return q.cutFront(end, marker, from, to, changes)
}

// cutFront puts a marker of from..to in place of the slots below end, but for
// those of a batch that was begun, which go in front of it. A marker that was
// made earlier nobody has seen yet, so it may grow.
func (q *queue) cutFront(end uint32, marker *Event, from, to uint64, changes uint32) uint32 {
	if marker == nil {
		marker = &Event{Op: Lagged}
	}
	marker.PrevRevision, marker.Revision = from, to
	*q.slot(end - 1) = marker
	skip := end - 1 - q.begun
	for i := q.begun; i > 0; i-- {
		*q.slot(i - 1 + skip) = *q.slot(i - 1)
	}
	for i := range skip {
		*q.slot(i) = nil
	}
	q.head = q.index(skip)
	q.n -= skip
	q.events -= changes
	return changes
}
