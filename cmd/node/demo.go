package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/watchcast/watchcast/node"
)

// demo hands a few keys to put every second until ctx ends.
func demo(ctx context.Context, put func(ctx context.Context, key, value string)) {
	colors := []string{"red", "orange", "yellow", "green", "blue", "violet"}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			put(ctx, "demo.time", now.UTC().Format(time.RFC3339))
			put(ctx, "demo.count", strconv.Itoa(i))
			put(ctx, "demo.color", colors[i%len(colors)])
		}
	}
}

// embedded writes to a node of this process while it leads.
func embedded(n *node.Node, log *slog.Logger) func(ctx context.Context, key, value string) {
	return func(ctx context.Context, key, value string) {
		_, err := n.Put(ctx, key, []byte(value))
		if err != nil && ctx.Err() == nil && !errors.Is(err, node.ErrNotLeader) {
			log.Warn("demo write failed", "key", key, "error", err)
		}
	}
}
