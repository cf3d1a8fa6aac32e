package main

import (
	"context"
	"time"
)

// putsEmbedded is the puts a second that a node does for 64 goroutines in its
// process, each put on disk when it returns, as a part of what bare Raft does on
// the same log.
var putsEmbedded = &measure{
	name:    "puts-embedded",
	figures: []figure{{"puts-embedded", "ratio", atLeast(0.8)}},
	full:    size{samples: 11, duration: 700 * time.Millisecond},
	tiny:    size{samples: 2, duration: 50 * time.Millisecond},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		n, stop, err := startNode(ctx, e.dir)
		if err != nil {
			return nil, err
		}
		defer stop()
		bare, err := startBareRaft(e.dir)
		if err != nil {
			return nil, err
		}
		defer bare.stop()
		return putsBeside(ctx, s, "puts/s, node", putter(n), "puts/s, raft and raft-wal", bare.putter())
	},
}
