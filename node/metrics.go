package node

import "github.com/prometheus/client_golang/prometheus"

// metrics reads the node's own counters when it is asked, so that metrics cost
// nothing in between.
type metrics struct {
	node  *Node
	items []metric
}

type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(Status) float64
}

func newMetrics(n *Node) *metrics {
	m := &metrics{node: n}
	labels := prometheus.Labels{"node": n.config.ID}
	add := func(kind prometheus.ValueType, name, help string, value func(Status) float64) {
		m.items = append(m.items, metric{prometheus.NewDesc("watchcast_"+name, help, nil, labels), kind, value})
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	add(gauge, "leader", "1 on the node that leads and serves.", func(s Status) float64 {
		if s.Publish != nil {
			return 1
		}
		return 0
	})
	add(gauge, "term", "Raft term.", func(s Status) float64 { return float64(s.Term) })
	add(gauge, "revision", "Revision of the last applied command.", func(s Status) float64 { return float64(s.Revision) })
	add(gauge, "keys", "Keys that exist.", func(s Status) float64 { return float64(s.Keys) })
	add(gauge, "log_bytes", "Weight of the Raft log behind the newest snapshot, which a start applies again.", func(s Status) float64 { return float64(s.Log.Weight) })
	add(gauge, "log_limit_bytes", "Weight of the log at which a snapshot takes its place.", func(s Status) float64 { return float64(s.Log.Limit) })
	add(gauge, "snapshot_bytes", "Size of the newest snapshot; 0 if there is none.", func(s Status) float64 { return float64(s.Log.Snapshot) })
	add(counter, "damaged_snapshots_total", "Snapshots that were found damaged on the disk.", func(s Status) float64 { return float64(s.Log.Damaged) })
	add(gauge, "watchers", "In-process watchers.", func(s Status) float64 { return float64(s.Events.Watchers) })
	add(counter, "dispatched_events_total", "Events read by the dispatcher; most of what nobody watches it does not read.", func(s Status) float64 { return float64(s.Events.Events) })
	add(counter, "watcher_matched_total", "Events offered to in-process watchers.", func(s Status) float64 { return float64(s.Events.Matched) })
	add(counter, "watcher_delivered_total", "Of the matched events, those taken by their watchers.", func(s Status) float64 { return float64(s.Events.Delivered) })
	add(counter, "watcher_conflated_total", "Of the matched events, those superseded before they were taken.", func(s Status) float64 { return float64(s.Events.Conflated) })
	add(gauge, "watcher_pending", "Events waiting in buffers of in-process watchers.", func(s Status) float64 { return float64(s.Events.Pending) })
	add(counter, "watchers_cancelled_total", "In-process watchers that ended because they lagged.", func(s Status) float64 { return float64(s.Events.Cancelled) })
	add(counter, "watcher_dropped_total", "Events lost to full buffers of in-process watchers.", func(s Status) float64 { return float64(s.Events.Dropped) })
	add(counter, "dispatcher_gaps_total", "Ranges the dispatcher lost for every in-process watcher.", func(s Status) float64 { return float64(s.Events.Gaps) })
	add(gauge, "clients", "NATS clients of the embedded broker.", func(s Status) float64 { return float64(s.Clients.Connected) })
	add(gauge, "clients_limit", "How many of them there may be; others are refused.", func(s Status) float64 { return float64(s.Clients.Limit) })
	add(counter, "slow_clients_total", "Times that the node or its broker cut off a NATS client that did not take what waited for it; both may count one.", func(s Status) float64 { return float64(s.Slow) })
	add(gauge, "published_revision", "Revision up to which the broker has every event; 0 where the node does not lead.", func(s Status) float64 {
		if s.Publish == nil {
			return 0
		}
		return float64(s.Publish.Confirmed)
	})
	add(gauge, "safe_revision", "Revision up to which the broker of every live node heard within 3 s has every event; 0 where the node does not lead.", func(s Status) float64 {
		if s.Publish == nil {
			return 0
		}
		return float64(s.Publish.Safe)
	})
	add(counter, "resets_total", "Losses announced on _watch.reset in this term; 0 where the node does not lead.", func(s Status) float64 {
		if s.Publish == nil {
			return 0
		}
		return float64(s.Publish.Resets)
	})
	return m
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, item := range m.items {
		ch <- item.desc
	}
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.node.Status()
	for _, item := range m.items {
		ch <- prometheus.MustNewConstMetric(item.desc, item.kind, item.value(s))
	}
}
