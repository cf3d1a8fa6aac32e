package fanout

import "sync/atomic"

// flags are what is true of a watcher, in one word. Each is changed under the lock
// that is named beside it. Without that lock a flag may be looked at too, where an
// answer of a moment ago does no harm.
type flags struct{ word atomic.Uint32 }

const (
	isPattern  = 1 << iota // it has a pattern, not a key; never changes
	registered             // whoever ends it takes it out of the registry; mu
	ended                  // mu
	inContext              // it was made under a context that may end; the contexts' lock, once
	reading                // a consumer is at what the watcher catches up with; mu
	inState                // and that is a Snapshot, whose functions may be at work; mu
	awaited                // a consumer waits in Next, or has asked for Ready; mu: see heed
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
