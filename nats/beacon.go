package nats

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Range is a range of revisions, both ends included.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Beacon is what the leader says on _watch.beacon, once a second and every
// 4,096 events: JSON. The broker has the events that it covers before it comes. The
// first one of a connection comes before the connection's events.
// One that was on its way when the publisher lost its connection may come behind
// later ones.
type Beacon struct {
	Cluster string `json:"cluster"` // id of the cluster
	Term    uint64 `json:"term"`    // of the leader; ignore lower ones than seen
	Node    string `json:"node"`    // id of the leader
	Age     uint64 `json:"age"`     // milliseconds since the term began to publish, rounded down
	Seq     uint64 `json:"seq"`     // grows within a term, by more than 1 after a lost connection
	// After is the seq of the beacon that this one follows: whoever has heard that or a
	// later one has missed nothing in between. 0: this one begins the term.
	After     uint64 `json:"after"`
	Published uint64 `json:"published"`       // every event up to this revision was published before
	Safe      uint64 `json:"safe"`            // every event up to this revision has reached the broker of every live node heard within 3 s
	Resets    uint64 `json:"resets"`          // resets announced in this term
	Reset     *Range `json:"reset,omitempty"` // the last of them

	// Sent and Routes are for the nodes: see [Hearing]. Every event above Sent is
	// published, or published again, at a time at which the leader knew that the nodes'
	// brokers have these routes to its own.
	Sent   uint64            `json:"sent"`
	Routes map[string]uint64 `json:"routes,omitempty"` // as each node acknowledged it last, by node
}

// Reset is what the leader says on _watch.reset: JSON. Changes in the range
// may not have been published; read what you watch again.
type Reset struct {
	Cluster string `json:"cluster"`
	Term    uint64 `json:"term"`
	Range
}

// DecodeBeacon reads a message of the beacon subject.
func DecodeBeacon(m *nats.Msg) (Beacon, error) {
	var b Beacon
	if err := json.Unmarshal(m.Data, &b); err != nil {
		return Beacon{}, fmt.Errorf("nats: message on %q is no beacon: %w", m.Subject, err)
	}
	return b, nil
}

// DecodeReset reads a message of the reset subject.
func DecodeReset(m *nats.Msg) (Reset, error) {
	var r Reset
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return Reset{}, fmt.Errorf("nats: message on %q is no reset: %w", m.Subject, err)
	}
	if r.From == 0 || r.From > r.To {
		return Reset{}, fmt.Errorf("nats: message on %q is no reset: its range is %d..%d", m.Subject, r.From, r.To)
	}
	return r, nil
}
