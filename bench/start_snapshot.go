package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/node"
)

// startSnapshot is how long a node takes from its start until it leads, with a
// snapshot of so many keys and no log behind it.
var startSnapshot = &measure{
	name:    "start-snapshot",
	figures: []figure{{"start-snapshot", "s", atMost(5)}},
	full:    size{samples: 5, count: 1_000_000},
	tiny:    size{samples: 2, count: 1000},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		data, err := os.MkdirTemp(e.dir, "watchcast-bench-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(data)
		config := node.Config{DataDir: data, NATS: "127.0.0.1:0", HTTP: node.Off}
		state, err := storeSnapshot(ctx, config, s.count)
		if err != nil {
			return nil, err
		}
		took, err := interleave(ctx, s.samples,
			func() (float64, error) { return startTime(ctx, config, s.count) },
			func() (float64, error) {
				begun := time.Now()
				_, err := fsm.ReadBackup(bytes.NewReader(state))
				return time.Since(begun).Seconds(), err
			})
		if err != nil {
			return nil, err
		}
		return []finding{{samples: took[0], compare: map[string]float64{
			"reading the snapshot, from memory, s": median(took[1]),
			"snapshot, MB":                         float64(len(state)) / 1e6,
		}}}, nil
	},
}

// storeSnapshot leaves a node's directory with a snapshot of so many keys, and
// returns that.
func storeSnapshot(ctx context.Context, config node.Config, count int) ([]byte, error) {
	var state bytes.Buffer
	if _, err := machineWith(count).Backup().WriteTo(&state); err != nil {
		return nil, err
	}
	n, err := node.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	defer n.Close() // again, when all went well
	if _, err := n.Restore(ctx, bytes.NewReader(state.Bytes())); err != nil {
		return nil, err
	}
	return state.Bytes(), n.Close()
}

// machineWith is a state machine with so many keys, put one by one.
func machineWith(count int) *fsm.FSM {
	m := fsm.New(fsm.Options{})
	index := uint64(0)
	apply := func(commands ...fsm.Command) {
		logs := make([]*raft.Log, len(commands))
		for i, c := range commands {
			index++
			logs[i] = &raft.Log{Index: index, Type: raft.LogCommand, Data: c.Append(nil), AppendedAt: time.Now()}
		}
		m.ApplyBatch(logs)
	}
	apply(fsm.Command{Op: fsm.CommandInit, Cluster: fsm.Cluster{ID: "bench", MaxValueBytes: 1 << 20}})
	value := make([]byte, valueBytes)
	batch := make([]fsm.Command, 0, burstSize)
	for i := range count {
		batch = append(batch, fsm.Command{Op: fsm.CommandPut, Key: key(i), Value: value})
		if len(batch) == burstSize || i == count-1 {
			apply(batch...)
			batch = batch[:0]
		}
	}
	return m
}

func startTime(ctx context.Context, config node.Config, count int) (float64, error) {
	begun := time.Now()
	n, err := node.Start(ctx, config)
	if err != nil {
		return 0, err
	}
	defer n.Close() // what it did not publish is of no interest
	if err := n.WaitReady(ctx); err != nil {
		return 0, err
	}
	took := time.Since(begun).Seconds()
	if keys := n.Status().Keys; keys != count {
		return 0, fmt.Errorf("the node has %d keys of %d", keys, count)
	}
	return took, nil
}
