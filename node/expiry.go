package node

import (
	"context"
	"time"

	"github.com/watchcast/watchcast/fsm"
)

const (
	// tickPeriod is how often the cluster's time is written down while keys with a
	// time to live exist: what a change of leader sets it back at most.
	tickPeriod = 10 * time.Second

	expireRetry = time.Second
)

// expire proposes, until ctx ends, that keys expire when the first is due. One
// command removes a bounded number; the next follows at once.
func (e *epoch) expire(ctx context.Context) {
	n := e.node
	tick := time.Now().Add(n.config.tick)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		first, changed := n.machine.NextExpiry()
		due := timer.C
		if first == 0 { // no key has a time to live
			due = nil
			tick = time.Now().Add(n.config.tick)
		} else {
			timer.Reset(min(first-e.clock.now(), time.Until(tick)))
		}
		select {
		case <-changed:
			continue
		case <-e.clock.moved:
			continue
		case <-due:
		case <-ctx.Done():
			return
		}
		tick = time.Now().Add(n.config.tick)
		if _, err := n.apply(e, fsm.Command{Op: fsm.CommandExpire}).Wait(); err != nil && ctx.Err() == nil {
			n.log.Warn("keys that are due stay for now", "error", err)
			pause(ctx, expireRetry)
		}
	}
}
