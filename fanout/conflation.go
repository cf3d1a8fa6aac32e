package fanout

// conflation finds the pending change of each key, for the policy Conflate.
//
// A newer change goes to the end of the queue, so that the order is that of
// revisions, and leaves a hole in its predecessor's slot. Holes are passed over
// by take, cut off at the end at once, and squeezed out when there are many, so
// slots are bounded by the keys that wait. Squeezing also joins markers that have
// no change between them any more.
type conflation struct {
	places map[string]uint64 // of pending changes, counted from the first slot ever
	resets map[uint16]uint64 // of pending Resets of producers, by Source; nil without a Front
	front  uint64            // the place of the first slot
	holes  uint32
	most   int // keys held at a time since the map was made
}

const (
	squeezeAt = 16 // holes, and a third of the slots
	keepMap   = 64 // keys for which an empty map is kept
)

// place returns where the pending change of the same key is. A Reset counts as a
// key of its own, one for each producer.
func (c *conflation) place(e *Event) (place uint64, ok bool) {
	if e.Op == Reset && e.Source > 0 {
		place, ok = c.resets[e.Source]
	} else {
		place, ok = c.places[e.Key]
	}
	return place, ok
}

func (c *conflation) setPlace(e *Event, place uint64) {
	switch {
	case e.Op != Reset || e.Source == 0:
		c.places[e.Key] = place
	case c.resets == nil:
		c.resets = map[uint16]uint64{e.Source: place}
	default:
		c.resets[e.Source] = place
	}
}

func (c *conflation) forget(e *Event) {
	if e.Op == Reset && e.Source > 0 {
		delete(c.resets, e.Source)
		return
	}
	delete(c.places, e.Key)
}

// replace takes in the events of one revision in place of older ones of the
// same keys.
func (b *buffer) replace(group []*Event) (conflated uint64) {
	q := b.slots(0)
	if q.conflate == nil {
		q.conflate = &conflation{places: make(map[string]uint64)}
	}
	c := q.conflate
	for _, e := range group {
		if place, ok := c.place(e); ok {
			*q.slot(uint32(place - c.front)) = nil
			c.holes++
			q.events--
			conflated++
		}
	}
	q.trimHoles()
	if c.holes >= squeezeAt && 3*c.holes >= q.n {
		q.squeeze()
	}
	b.closeGap()
	for _, e := range group {
		q.append(e)
		c.setPlace(e, c.front+uint64(q.n-1))
	}
	c.most = max(c.most, len(c.places))
	return conflated
}

// taken forgets the change that was in the first slot.
func (c *conflation) taken(e *Event) {
	c.front++
	if e.counts() {
		c.forget(e)
	}
	if len(c.places) == 0 && c.most > keepMap {
		c.places, c.most = make(map[string]uint64), 0 // a map never shrinks
	}
}

// skipHoles makes the first slot one that is in use.
func (q *queue) skipHoles() {
	for q.n > 0 && *q.slot(0) == nil {
		q.head = q.index(1)
		q.n--
		q.conflate.front++
		q.conflate.holes--
	}
	q.shrink()
}

// trimHoles makes the last slot one that is in use.
func (q *queue) trimHoles() {
	for q.n > 0 && *q.slot(q.n - 1) == nil {
		q.n--
		q.conflate.holes--
	}
	q.shrink()
}

// squeeze moves what is held together.
func (q *queue) squeeze() {
	c := q.conflate
	to := uint32(0)
	for i := range q.n {
		e := *q.slot(i)
		if e == nil {
			continue
		}
		*q.slot(i) = nil
		if e.Op == Lagged && to > 0 && (*q.slot(to - 1)).Op == Lagged {
			(*q.slot(to - 1)).Revision = e.Revision
			continue
		}
		*q.slot(to) = e
		if e.counts() {
			c.setPlace(e, c.front+uint64(to))
		}
		to++
	}
	q.n, c.holes = to, 0
}
