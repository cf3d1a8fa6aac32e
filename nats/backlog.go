package nats

// itemOverhead is about what an update costs beside its key and value, in bytes.
const itemOverhead = 256

// item is an update that the consumer has not taken yet, with what is needed to take it
// back.
type item struct {
	Update
	before known  // where the key stood
	floor  uint64 // of the view, then
}

func (i *item) bytes() int {
	if i.Event == nil {
		return itemOverhead
	}
	return itemOverhead + len(i.Event.Key) + len(i.Event.Value)
}

// backlog holds updates between a watch and its consumer: a queue bounded by count and
// by bytes.
type backlog struct {
	items    []item
	head     int // of items, the first that was not taken
	bytes    int
	maxItems int
	maxBytes int
}

func (b *backlog) len() int { return len(b.items) - b.head }

// full reports whether there is no room for another change. One that is longer than all
// the room finds some in an empty queue.
func (b *backlog) full() bool { return b.len() >= b.maxItems || b.bytes >= b.maxBytes }

// roomy reports whether at least half of the room is free.
func (b *backlog) roomy() bool { return b.len() <= b.maxItems/2 && b.bytes <= b.maxBytes/2 }

func (b *backlog) push(i item) {
	if b.head > len(b.items)/2 && len(b.items) == cap(b.items) {
		n := copy(b.items, b.items[b.head:])
		clear(b.items[n:])
		b.items, b.head = b.items[:n], 0
	}
	b.items = append(b.items, i)
	b.bytes += i.bytes()
}

func (b *backlog) pop() (Update, bool) {
	if b.len() == 0 {
		return Update{}, false
	}
	i := &b.items[b.head]
	u := i.Update
	b.bytes -= i.bytes()
	*i = item{}
	if b.head++; b.head == len(b.items) {
		b.items, b.head = b.items[:0], 0
		if cap(b.items) > 1024 {
			b.items = nil
		}
	}
	return u, true
}

// least returns where takeBack could put the floor of a view, which is at floor.
func (b *backlog) least(floor uint64) uint64 {
	for n := range b.items[b.head:] {
		if i := &b.items[b.head+n]; i.Kind == Changed {
			return i.floor
		}
	}
	return floor
}

// takeBack empties the queue, undoes in v what its changes did, and returns what was in
// it. The view's floor is then where it was before the first of the changes.
func (b *backlog) takeBack(v *view) (rest []item) {
	rest = b.items[b.head:]
	for n := len(rest) - 1; n >= 0; n-- {
		if i := &rest[n]; i.Kind == Changed {
			v.set(i.Event.Key, i.before)
			v.floor = i.floor
		}
	}
	b.items, b.head, b.bytes = nil, 0, 0
	return rest
}
