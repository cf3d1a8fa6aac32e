package fanout

const walkSlice = 256 // watchers flagged between two batches of events

// walk is where the flagging of silent watchers stands.
type walk struct {
	active bool
	end    int    // roster slots below it are still to come; negative at the start
	epoch  uint64 // everyone has heard of it when this walk is over
	newest uint64 // gap found since: then walk once more
}

func (w *walk) begin(epoch uint64) {
	w.newest = epoch
	if !w.active {
		*w = walk{active: true, end: -1, epoch: epoch, newest: epoch}
	}
}

// flagSlice tells some watchers of the gaps; the rest after the next events.
func (d *Dispatcher) flagSlice() {
	if !d.walk.active {
		return
	}
	var slice [walkSlice]*watcher
	list, end := d.registry.roster.slice(d.walk.end, slice[:0])
	for _, w := range list {
		if cause := w.flag(&d.gaps); cause != nil {
			d.cancel(w, cause)
		}
	}
	d.walk.end = end
	if end > 0 {
		return
	}
	d.gaps.forget(d.walk.epoch)
	d.walk.active = false
	if d.walk.newest > d.walk.epoch {
		d.walk.begin(d.walk.newest)
	}
}

// lost opens an epoch: everyone missed what they watch in from..to.
func (d *Dispatcher) lost(from, to uint64) {
	d.gaps.add(from, to)
	d.registry.epoch.Store(d.gaps.epoch)
	d.registry.stats.gaps.Add(1)
	d.registry.stats.lost.Add(to - from + 1)
	d.walk.begin(d.gaps.epoch)
}
