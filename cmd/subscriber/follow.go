package main

import (
	"context"
	"sync"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// followed is a watch of each pattern, with what they give in one place. Each has a
// goroutine, which stop waits for.
type followed struct {
	watches []*nats.Watch
	updates chan update
	failed  chan error
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// update is one with the number of the watch that gave it.
type update struct {
	nats.Update
	watch int
}

func follow(ctx context.Context, client *nats.Client, patterns []string, o nats.WatchOptions) (_ *followed, err error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &followed{updates: make(chan update), failed: make(chan error, len(patterns)), cancel: cancel}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	var before []fanout.Filter
	for i, pattern := range patterns {
		w, err := client.Watch(ctx, pattern, o)
		if err != nil {
			return nil, err
		}
		f.watches = append(f.watches, w)
		mine := before[:i:i]
		f.wg.Go(func() { f.failed <- f.pass(ctx, i, w, mine) })
		filter, err := fanout.PatternFilter(pattern)
		if err != nil {
			return nil, err
		}
		before = append(before, filter)
	}
	return f, nil
}

// pass hands over what a watch gives, but for the keys that the patterns before it
// match too.
func (f *followed) pass(ctx context.Context, number int, w *nats.Watch, before []fanout.Filter) error {
	for {
		u, err := w.Next(ctx)
		if err != nil {
			return err
		}
		if u.Kind == nats.Changed && matches(before, u.Event.Key) || u.Kind == nats.Lost && u.Key != "" && matches(before, u.Key) {
			continue
		}
		select {
		case f.updates <- update{u, number}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func matches(filters []fanout.Filter, key string) bool {
	for _, filter := range filters {
		if filter.Match(key) {
			return true
		}
	}
	return false
}

// next returns the next update, or one without a kind when tick comes first.
func (f *followed) next(ctx context.Context, tick <-chan time.Time) (update, error) {
	select {
	case u := <-f.updates:
		return u, nil
	case <-tick:
		return update{}, nil
	case err := <-f.failed:
		return update{}, err
	case <-ctx.Done():
		return update{}, context.Cause(ctx)
	}
}

func (f *followed) stop() {
	f.cancel()
	f.wg.Wait()
	for _, w := range f.watches {
		w.Stop()
	}
}

// stats adds up the counts of the watches.
func (f *followed) stats() (sum nats.WatchStats) {
	for _, w := range f.watches {
		s := w.Stats()
		sum.Events += s.Events
		sum.Repeats += s.Repeats
		sum.Losses += s.Losses
		sum.Healed += s.Healed
		sum.CatchUps += s.CatchUps
		sum.Keys += s.Keys
		sum.Pending += s.Pending
	}
	return sum
}
