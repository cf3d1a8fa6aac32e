package fanout

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server/gsl"
)

// patternIndex finds the watchers of patterns.
//
// The matcher is nats-server's, so in process and on the wire a pattern means
// the same. It calls back with its lock held, so matches are collected into the
// dispatcher's own slice and delivered afterwards; and it takes what it is
// given, so patterns are checked before they come here.
type patternIndex struct {
	matcher *gsl.GenericSublist[*watcher]
	some    atomic.Int64 // watchers in matcher

	mu  sync.Mutex
	all atomic.Pointer[[]*watcher] // watchers of >, copied on change
}

const everyKey = ">"

func (x *patternIndex) add(w *watcher) {
	if w.filter != everyKey {
		if err := x.matcher.Insert(w.filter, w); err != nil {
			panic(fmt.Sprintf("fanout: the matcher refuses pattern %q, which was checked: %v", w.filter, err))
		}
		x.some.Add(1)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.edit(func(list []*watcher) []*watcher { return append(list, w) })
}

func (x *patternIndex) remove(w *watcher) {
	if w.filter != everyKey {
		if err := x.matcher.Remove(w.filter, w); err == nil {
			x.some.Add(-1)
		}
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.edit(func(list []*watcher) []*watcher {
		for i, o := range list {
			if o == w {
				return append(list[:i], list[i+1:]...)
			}
		}
		return list
	})
}

func (x *patternIndex) edit(change func([]*watcher) []*watcher) {
	var list []*watcher
	if old := x.all.Load(); old != nil {
		list = append(make([]*watcher, 0, len(*old)+1), *old...)
	}
	list = change(list)
	x.all.Store(&list)
}

// everything returns the watchers of >.
func (x *patternIndex) everything() []*watcher {
	if all := x.all.Load(); all != nil {
		return *all
	}
	return nil
}

// any reports whether there are watchers of other patterns.
func (x *patternIndex) any() bool { return x.some.Load() > 0 }

// match appends the watchers of patterns other than > that key's subject form
// matches.
func (x *patternIndex) match(key string, buf []*watcher) []*watcher {
	x.matcher.Match(SubjectForm(key), func(w *watcher) { buf = append(buf, w) })
	return buf
}
