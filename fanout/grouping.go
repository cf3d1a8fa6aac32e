package fanout

import "hash/maphash"

// grouping sorts the events of one read of the ring by key, in the order in which
// the keys come first, so that the watchers of a key are looked up, locked and
// woken once for all of them. Only the dispatcher's goroutine uses it.
//
// It is a hash table with open addressing over the indexes of the events, which
// are chained by key. A slot says of which read it is, so that it is not cleared
// in between.
type grouping struct {
	seed  maphash.Seed
	read  uint32      // number of the current one
	slots []groupSlot // a power of two, twice as many as events or more
	links []groupLink // of the events
	of    []*Event    // one key
}

type groupSlot struct {
	read  uint32
	first int32 // event of the key
	last  int32
}

type groupLink struct {
	next  int32 // event of the same key; -1 for none
	first bool  // of its key
}

// few events are not worth a table: then only neighbours of one key are found.
const fewEvents = 16

// each calls f with the events of each key. f must not keep them.
func (g *grouping) each(events []*Event, f func(of []*Event)) {
	if len(events) <= fewEvents {
		for i := 0; i < len(events); {
			end := i + 1
			for end < len(events) && events[end].Key == events[i].Key {
				end++
			}
			f(events[i:end])
			i = end
		}
		return
	}
	g.prepare(len(events))
	g.chain(events)
	for i, l := range g.links {
		switch {
		case !l.first:
		case l.next < 0:
			f(events[i : i+1])
		default:
			g.of = g.of[:0]
			for j := int32(i); j >= 0; j = g.links[j].next {
				g.of = append(g.of, events[j])
			}
			f(g.of)
		}
	}
	if len(g.slots) > 4*maxRead {
		*g = grouping{} // a batch had made it grow
	}
	clear(g.of)
}

// prepare makes room for n events.
func (g *grouping) prepare(n int) {
	size := max(len(g.slots), 64)
	for size < 2*n {
		size *= 2
	}
	if g.read++; size > len(g.slots) || g.read == 0 {
		g.seed = maphash.MakeSeed()
		g.slots, g.read = make([]groupSlot, size), 1
		g.links = make([]groupLink, size/2)
	}
	g.links = g.links[:n]
}

// chain links the events of each key.
func (g *grouping) chain(events []*Event) {
	mask := uint64(len(g.slots) - 1)
	for i, e := range events {
		at := maphash.String(g.seed, e.Key) & mask
		for g.slots[at].read == g.read && events[g.slots[at].first].Key != e.Key {
			at = (at + 1) & mask
		}
		s := &g.slots[at]
		g.links[i] = groupLink{next: -1, first: s.read != g.read}
		if g.links[i].first {
			*s = groupSlot{read: g.read, first: int32(i)}
		} else {
			g.links[s.last].next = int32(i)
		}
		s.last = int32(i)
	}
}
