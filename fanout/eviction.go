package fanout

// holding is what the writer must know of a block to fill and evict it without looking
// at its events, which have left the cache long ago, nor at the block itself, in which
// readers count themselves.
type holding struct {
	slots []*Event // those of the block
	from  int64    // bytes of all events ever that went before those in the slots
	to    int64    // the same, with these; not of a block that is being filled
	start uint64   // index of the first slot where a revision begins; as many as there are slots if none does
}

// bytes returns those of the events in a block.
func (r *Ring) bytes(h *holding) int64 {
	if h == r.open {
		return r.pushed - h.from
	}
	return h.to - h.from
}

// turn is called where Push cannot simply go on: at the start of a block, or
// with as many events held as there may be.
func (r *Ring) turn(pos uint64) {
	block := r.within + 1
	end := pos&^r.within + block
	if pos&r.within != 0 { // a batch had filled the ring up to here
		r.evict(r.startFrom((pos - r.size + block) &^ r.within))
	} else {
		if end > r.size+r.first {
			r.evict(r.startFrom(end - r.size + r.stride - block))
		}
		if r.open != nil {
			r.open.to = r.pushed
		}
		r.open = &r.holdings[r.index(pos)]
		r.open.from, r.open.start = r.pushed, block
		r.slots = r.open.slots
	}
	r.stop = min(end, r.first+r.size)
}

// startFrom returns where the first revision begins at or behind pos, the start
// of a block; at most the position of the one that is being pushed.
func (r *Ring) startFrom(pos uint64) uint64 {
	for pos < r.group {
		if start := r.holdings[r.index(pos)].start; start <= r.within {
			return pos + start
		}
		pos += r.within + 1
	}
	return r.group
}

// release evicts, oldest first, until what the ring holds fits its bound again,
// or until only the newest revision is left. A block goes as a whole, unless that
// would be much at once.
func (r *Ring) release() {
	for r.pushed > r.limit && r.first < r.group {
		h := &r.holdings[r.index(r.first)]
		if r.bytes(h) <= r.maxBytes/64 {
			r.evict(r.startFrom(r.first&^r.within + r.within + 1))
			continue
		}
		r.evict(r.endOf(h.slots[r.first&r.within]))
	}
}

// endOf returns the position behind the oldest revision, of which e is the first
// event. A batch may be shorter than it says.
func (r *Ring) endOf(e *Event) uint64 {
	end := r.first + 1
	for limit := min(r.first+uint64(max(1, e.BatchSize)), r.group); end < limit; end++ {
		if r.holdings[r.index(end)].slots[end&r.within].Revision != e.Revision {
			break
		}
	}
	return end
}

// evict moves the tail to end, where a revision begins, and makes the slots below
// refer to nothing. The tail goes first: see [Ring]. A block that somebody is
// reading is left to him as it is; another one takes its place.
func (r *Ring) evict(end uint64) {
	if end <= r.first {
		return
	}
	r.tail.Store(end)
	for r.first < end {
		from := r.first & r.within
		to := min(r.within+1, from+end-r.first)
		at := r.index(r.first)
		h := &r.holdings[at]
		freed := r.bytes(h)
		if to <= r.within { // more of it stays
			freed = 0
			for _, e := range h.slots[from:to] {
				freed += e.bytes()
			}
		}
		h.from += freed
		r.limit += freed
		if r.blocks[at].Load().readers.Load() == 0 {
			clear(h.slots[from:to])
		} else {
			fresh := newBlock(r.within + 1)
			copy(fresh.slots[to:], h.slots[to:])
			h.slots = fresh.slots
			r.blocks[at].Store(fresh)
			if h == r.open {
				r.slots = fresh.slots
			}
		}
		r.first += to - from
	}
}
