package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchcast/watchcast/fanout"
)

// dispatchMetrics are the detailed ones, which cost something all the time.
type dispatchMetrics struct {
	events, offers, took, age prometheus.Histogram
}

func newDispatchMetrics(id string) *dispatchMetrics {
	histogram := func(name, help string, first float64, buckets int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:        "watchcast_dispatch_" + name,
			Help:        help,
			ConstLabels: prometheus.Labels{"node": id},
			Buckets:     prometheus.ExponentialBuckets(first, 4, buckets),
		})
	}
	return &dispatchMetrics{
		events: histogram("read_events", "Events delivered from one read of the ring.", 1, 7),
		offers: histogram("read_offers", "Offers made to in-process watchers from one read of the ring.", 1, 11),
		took:   histogram("read_seconds", "Time to deliver what one read of the ring had.", 1e-6, 11),
		age:    histogram("age_seconds", "Time from the leader's append to delivery, of the oldest event in a read; the clocks are those of two nodes.", 16e-6, 11),
	}
}

// observe is called in the dispatcher's goroutine.
func (m *dispatchMetrics) observe(d fanout.Delivery) {
	m.events.Observe(float64(d.Events))
	m.offers.Observe(float64(d.Offers))
	m.took.Observe(d.Took.Seconds())
	if d.Age > 0 {
		m.age.Observe(d.Age.Seconds())
	}
}

// Describe implements [prometheus.Collector].
func (m *dispatchMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, h := range m.all() {
		h.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *dispatchMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, h := range m.all() {
		h.Collect(ch)
	}
}

func (m *dispatchMetrics) all() []prometheus.Histogram {
	return []prometheus.Histogram{m.events, m.offers, m.took, m.age}
}
