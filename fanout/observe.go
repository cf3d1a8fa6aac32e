package fanout

import "time"

// Delivery is what a dispatcher did with one read of the ring, for who measures it
// (DispatcherOptions.Observe).
type Delivery struct {
	Events    int           // read at once, control events included
	Offers    int           // made to watchers, each of all that the read has for the watcher or of a part
	Dropped   uint64        // events lost to full buffers
	Took      time.Duration // to look up and deliver all of them
	Age       time.Duration // of the oldest one when all were delivered, since its Time; 0 if it has none
	Remaining uint64        // how far the newest published revision lies above the last one read
}

// observed delivers events and tells the observer.
func (d *Dispatcher) observed(events []*Event) {
	begun := time.Now()
	dropped := d.registry.stats.dropped.Load()
	d.offers = 0
	d.deliver(events)
	now := time.Now()
	o := Delivery{
		Events:    len(events),
		Offers:    d.offers,
		Dropped:   d.registry.stats.dropped.Load() - dropped,
		Took:      now.Sub(begun),
		Remaining: d.ring.Revision() - d.cursor.Last(),
	}
	if at := events[0].Time; !at.IsZero() {
		o.Age = max(0, now.Sub(at))
	}
	d.options.Observe(o)
}
