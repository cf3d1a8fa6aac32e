package nats

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Ack is what a node answers to a beacon, on _watch.ack: JSON. Before a node that has just
// started has an answer, it says which routes it has: then Term and Seq are 0.
type Ack struct {
	Cluster  string `json:"cluster"`
	Term     uint64 `json:"term"`           // of the beacon
	Node     string `json:"node"`           // id of the node that answers
	Seq      uint64 `json:"seq"`            // of the beacon
	Received uint64 `json:"received"`       // its broker has every event up to this revision, but for Lost; 0: not known yet
	Lost     *Range `json:"lost,omitempty"` // may not have reached its broker, and no reset that covers it came
	// Proven says that the beacon came over the route that it names, so that the node can
	// tell what follows over it. Without routes it is always so.
	Proven bool `json:"proven,omitempty"`
	// Routes are those that its broker has to the brokers of other nodes, by node: a
	// number for each, which stands for no other route. None with an external broker.
	Routes map[string]uint64 `json:"routes,omitempty"`
}

// DecodeAck reads a message of the ack subject.
func DecodeAck(m *nats.Msg) (Ack, error) {
	var a Ack
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return Ack{}, fmt.Errorf("nats: message on %q is no acknowledgement: %w", m.Subject, err)
	}
	if a.Node == "" {
		return Ack{}, fmt.Errorf("nats: message on %q is no acknowledgement: it names no node", m.Subject)
	}
	if l := a.Lost; l != nil && (l.From == 0 || l.From > l.To) {
		return Ack{}, fmt.Errorf("nats: message on %q is no acknowledgement: its lost range is %d..%d", m.Subject, l.From, l.To)
	}
	return a, nil
}
