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
		var samples []float64
		for range s.samples {
			v, err := freshSample(ctx, "watcher-memory", e)
			if err != nil {
				return nil, err
			}
			samples = append(samples, v)
		}
		return []finding{{samples: samples}}, nil
	},
	sample: func(_ context.Context, s size) (float64, error) {
		r, err := startRig(0, s.watchers)
		if err != nil {
			return 0, err
		}
		defer r.stop()
		watchers := make([]*fanout.Watcher, s.watchers) // the caller's, not counted
		before := memory()
		for i := range watchers {
			if watchers[i], err = r.registry.WatchKey(context.Background(), key(i)); err != nil {
				return 0, err
			}
		}
		after := memory()
		runtime.KeepAlive(watchers)
		return float64(after-before) / float64(s.watchers), nil
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
func freshSample(ctx context.Context, name string, e env) (float64, error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
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
		return 0, fmt.Errorf("sample in a process of its own: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strconv.ParseFloat(string(bytes.TrimSpace(out)), 64)
}

// printSample is the other side of freshSample.
func printSample(ctx context.Context, all []*measure, name string, e env, w io.Writer) error {
	for _, m := range all {
		if m.name == name && m.sample != nil {
			v, err := m.sample(ctx, m.size(e))
			if err == nil {
				_, err = fmt.Fprintln(w, v)
			}
			return err
		}
	}
	return fmt.Errorf("%q takes no samples in a process of its own", name)
}
