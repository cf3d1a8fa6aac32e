package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchcast/watchcast/node"
)

const (
	writers       = 64
	keysPerWriter = 100
	valueBytes    = 100
)

// putRate has 64 goroutines put, each waiting for its own, for about so long,
// and returns the puts a second. put gets the number of one of 6,400 keys.
func putRate(d time.Duration, put func(key int) error) (float64, error) {
	var wg sync.WaitGroup
	var stop atomic.Bool
	var puts atomic.Int64
	errs := make([]error, writers)
	begun := time.Now()
	for w := range writers {
		wg.Go(func() {
			n := 0
			for ; !stop.Load(); n++ {
				if errs[w] = put(w*keysPerWriter + n%keysPerWriter); errs[w] != nil {
					break
				}
			}
			puts.Add(int64(n))
		})
	}
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	wg.Wait()
	return rate(int(puts.Load()), time.Since(begun)), errors.Join(errs...)
}

// startNode starts a node on its own, with its files below dir, its broker on a
// free port and no HTTP, and waits until it leads. Stop removes the files.
func startNode(ctx context.Context, dir string) (n *node.Node, stop func(), err error) {
	data, err := os.MkdirTemp(dir, "watchcast-bench-")
	if err != nil {
		return nil, nil, err
	}
	stop = func() { os.RemoveAll(data) }
	n, err = node.Start(ctx, node.Config{DataDir: data, NATS: "127.0.0.1:0", HTTP: node.Off})
	if err == nil {
		remove := stop
		stop = func() { n.Close(); remove() } // what it did not publish is of no interest
		err = n.WaitReady(ctx)
	}
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("start a node: %w", err)
	}
	return n, stop, nil
}

// putter puts to the node.
func putter(n *node.Node) func(key int) error {
	names := keys(writers * keysPerWriter)
	value := make([]byte, valueBytes)
	return func(key int) error {
		_, err := n.Put(context.Background(), names[key], value)
		return err
	}
}

// putsBeside is the puts a second of one way to put, as a part of those of another.
func putsBeside(ctx context.Context, s size, name string, put func(int) error, besideName string, beside func(int) error) ([]finding, error) {
	arm := func(put func(int) error) func() (float64, error) {
		return func() (float64, error) { return putRate(s.duration, put) }
	}
	puts, err := interleave(ctx, s.samples, arm(put), arm(beside))
	if err != nil {
		return nil, err
	}
	return []finding{{samples: ratios(puts[0], puts[1]), compare: map[string]float64{
		name:       median(puts[0]),
		besideName: median(puts[1]),
	}}}, nil
}
