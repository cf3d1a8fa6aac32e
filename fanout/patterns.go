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

	mu         sync.Mutex
	everything atomic.Pointer[watcher] // the first watcher of >; changed under mu
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
	x.everything.Store(w.link(x.everything.Load()))
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
	x.everything.Store(w.unlink(x.everything.Load()))
}

// any reports whether there are watchers of other patterns.
func (x *patternIndex) any() bool { return x.some.Load() > 0 }

// match appends the watchers of patterns other than > that key's subject form
// matches.
func (x *patternIndex) match(key string, buf []*watcher) []*watcher {
	x.matcher.Match(SubjectForm(key), func(w *watcher) { buf = append(buf, w) })
	return buf
}
