package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/watchcast/watchcast/node"
)

// demo writes a few keys every second as long as this node leads.
func demo(ctx context.Context, n *node.Node, log *slog.Logger) {
	colors := []string{"red", "orange", "yellow", "green", "blue", "violet"}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, change := range [][2]string{
				{"demo.time", now.UTC().Format(time.RFC3339)},
				{"demo.count", strconv.Itoa(i)},
				{"demo.color", colors[i%len(colors)]},
			} {
				_, err := n.Put(ctx, change[0], []byte(change[1]))
				if err != nil && ctx.Err() == nil && !errors.Is(err, node.ErrNotLeader) {
					log.Warn("demo write failed", "key", change[0], "error", err)
				}
			}
		}
	}
}
