package fanout

import "sync/atomic"

// flags are what is true of a watcher, in one word. Each is changed under the lock
// named; whom a late answer does no harm may look without it.
type flags struct{ word atomic.Uint32 }

const (
	isPattern  = 1 << iota // it has a pattern, not a key; never changes
	registered             // whoever ends it takes it out of the registry; mu
	ended                  // mu
	inContext              // the end of a context ends it; the contexts' lock
	awaited                // a consumer waits for its next event; mu
)

func (f *flags) have(flag uint32) bool { return f.word.Load()&flag != 0 }

func (f *flags) put(flag uint32, on bool) {
	switch {
	case on == f.have(flag):
	case on:
		f.word.Or(flag)
	default:
		f.word.And(^flag)
	}
}
