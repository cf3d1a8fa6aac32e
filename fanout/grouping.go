package fanout

// grouping sorts the events of one read of the ring by key, in the order in which
// the keys come first, without those that nobody watches, so that the watchers of a
// key are looked up, locked and woken once for all of them. Only the dispatcher's
// goroutine uses it.
//
// It is a hash table with open addressing over the groups. A slot says of which
// read it is, so that it is not cleared in between.
type grouping struct {
	hash   func(key string) uintptr // the index's
	may    func(hash uintptr) bool  // false: nobody watches the key
	read   uint32                   // number of the current one
	slots  []groupSlot              // a power of two, twice as many as events or more
	groups []group
	links  []int32  // of each event, the next one of its key; -1 for none
	sorted []*Event // those of keys with several
	aside  []*Event // those that split left for others
}

// group is the events of one key in a read.
type group struct {
	events   []*Event
	hash     uintptr
	watchers *watcher // the first of the key, once looked up

	first, last int32 // of the events
}

type groupSlot struct {
	read  uint32
	group int32
}

// split returns a group for each key of events that may be watched; if first is given,
// of those keys for which it reports true, and others returns the rest, of which it is not
// even asked before that whether they may be watched. The groups are valid until forget is
// called, which must be done before the next split.
func (g *grouping) split(events []*Event, first func(hash uintptr) bool) []group {
	if len(events) == 1 {
		g.groups = append(g.groups, group{events: events, hash: g.hash(events[0].Key)})
		return g.groups
	}
	return g.gather(events, first)
}

// others returns the groups of the keys that split has set aside.
func (g *grouping) others() []group {
	if len(g.aside) == 0 {
		return nil
	}
	return g.gather(g.aside, nil)
}

func (g *grouping) gather(events []*Event, first func(hash uintptr) bool) []group {
	had := len(g.groups)
	g.chain(events, g.prepare(len(events)), first)
	groups := g.groups[had:]
	for i := range groups {
		of := &groups[i]
		if of.first == of.last {
			of.events = events[of.first : of.first+1]
			continue
		}
		start := len(g.sorted)
		for j := of.first; j >= 0; j = g.links[j] {
			g.sorted = append(g.sorted, events[j])
		}
		of.events = g.sorted[start:]
	}
	return groups
}

// forget lets go of the events that were split.
func (g *grouping) forget() {
	if len(g.slots) > 4*maxRead {
		*g = grouping{hash: g.hash, may: g.may} // a batch had made it grow
		return
	}
	clear(g.groups)
	clear(g.sorted)
	clear(g.aside)
	g.groups, g.sorted, g.aside = g.groups[:0], g.sorted[:0], g.aside[:0]
}

// prepare returns the slots for n events, not more of them than these need: a small read
// behind a large one stays in few cache lines.
func (g *grouping) prepare(n int) []groupSlot {
	size := 16
	for size < 2*n {
		size *= 2
	}
	if g.read++; size > len(g.slots) || g.read == 0 {
		all := max(size, len(g.slots), 64)
		g.slots, g.read = make([]groupSlot, all), 1
		g.links = make([]int32, all/2)
		g.sorted = make([]*Event, 0, all/2)
	}
	return g.slots[:size]
}

// chain finds the groups, by way of the slots, and links the events of each. If first is
// given it sets the events of other keys aside.
func (g *grouping) chain(events []*Event, slots []groupSlot, first func(hash uintptr) bool) {
	mask := uintptr(len(slots) - 1)
	for i, e := range events {
		h := g.hash(e.Key)
		if first != nil && !first(h) {
			g.aside = append(g.aside, e)
			continue
		}
		if !g.may(h) {
			continue
		}
		at := h >> 1 & mask
		for slots[at].read == g.read && !g.groups[slots[at].group].is(h, events, e.Key) {
			at = (at + 1) & mask
		}
		g.links[i] = -1
		if s := &slots[at]; s.read != g.read {
			*s = groupSlot{read: g.read, group: int32(len(g.groups))}
			g.groups = append(g.groups, group{hash: h, first: int32(i), last: int32(i)})
		} else {
			of := &g.groups[s.group]
			g.links[of.last] = int32(i)
			of.last = int32(i)
		}
	}
}

func (of *group) is(hash uintptr, events []*Event, key string) bool {
	return of.hash == hash && events[of.first].Key == key
}
