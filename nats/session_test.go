package nats

import (
	"testing"
	"time"
)

// TestPingsArePaced: however fast events come, and are confirmed, there is a pause between
// two pings, in which the connection is left to the events.
func TestPingsArePaced(t *testing.T) {
	b := newBridge(t, bridgeOptions{inProcess: true}).run()
	b.push(1)
	b.waitConfirmed(1)
	begun := time.Now()
	const rounds = 20 // each needs a ping of its own
	for range rounds {
		b.push(1)
		b.waitConfirmed(b.revision)
	}
	if took := time.Since(begun); took < (rounds-1)*provePace {
		t.Errorf("%d events were confirmed one after the other within %v", rounds, took)
	}
}
