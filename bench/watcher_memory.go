package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/watchcast/watchcast/fanout"
)

// watcherMemory is what an idle watcher costs, of a key of 18 bytes that no
// other has: everything in the process that there would not be without it. Each
// sample is a process of its own, because what the runtime keeps for itself it
// does not give back, so that a second million would look cheaper.
var watcherMemory = &measure{
	name:    "watcher-memory",
	figures: []figure{{"watcher-memory", "bytes/watcher", atMost(350)}},
	full:    size{samples: 3, watchers: 1_000_000},
	tiny:    size{samples: 1, watchers: 10_000},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		var idle, drained []float64
		for range s.samples {
			v, err := freshSample(ctx, "watcher-memory", e)
			if err != nil {
				return nil, err
			}
			if len(v) != 2 {
				return nil, fmt.Errorf("a sample is %v; want two numbers", v)
			}
			idle = append(idle, v[0])
			drained = append(drained, v[1])
		}
		return []finding{{samples: idle, compare: map[string]float64{
			"after one event each, drained": median(drained),
		}}}, nil
	},
	sample: func(_ context.Context, s size) ([]float64, error) {
		r, err := startRig(0, s.watchers)
		if err != nil {
			return nil, err
		}
		defer r.stop()
		// The ring is full of events of the same size whenever memory is read,
		// so they do not count.
		if err := r.publish(fanout.DefaultSlots, key); err != nil {
			return nil, err
		}
		watchers := make([]*fanout.Watcher, s.watchers) // the caller's, not counted
		before := memory()
		for i := range watchers {
			if watchers[i], err = r.registry.WatchKey(context.Background(), key(i)); err != nil {
				return nil, err
			}
		}
		idle := memory()
		if err := r.publish(s.watchers, key); err != nil {
			return nil, err
		}
		for i, w := range watchers {
			if e, ok := w.TryNext(); !ok || e.Key != key(i) {
				return nil, fmt.Errorf("the watcher of %s got %+v", key(i), e)
			}
			if e, ok := w.TryNext(); ok {
				return nil, fmt.Errorf("the watcher of %s got a second event, %+v", key(i), e)
			}
		}
		drained := memory()
		runtime.KeepAlive(watchers)
		per := func(after int64) float64 { return float64(after-before) / float64(s.watchers) }
		return []float64{per(idle), per(drained)}, nil
	},
}

// memory returns the bytes that are in use, the runtime's own included.
func memory() int64 {
	runtime.GC()
	runtime.GC() // the first one's sweep is complete now
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.OtherSys + m.GCSys)
}

// freshSample has a new process of this program take one sample.
func freshSample(ctx context.Context, name string, e env) ([]float64, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"--sample", name}
	if e.tiny {
		args = append(args, "--tiny")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("sample in a process of its own: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var sample []float64
	for _, field := range strings.Fields(string(out)) {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return nil, fmt.Errorf("sample in a process of its own: %w", err)
		}
		sample = append(sample, v)
	}
	return sample, nil
}

// printSample is the other side of freshSample: a number a line.
func printSample(ctx context.Context, all []*measure, name string, e env, w io.Writer) error {
	for _, m := range all {
		if m.name == name && m.sample != nil {
			sample, err := m.sample(ctx, m.size(e))
			if err != nil {
				return err
			}
			for _, v := range sample {
				if _, err := fmt.Fprintln(w, v); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return fmt.Errorf("%q takes no samples in a process of its own", name)
}
