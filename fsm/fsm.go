package fsm

import (
	"errors"
	"io"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// Options configures an [FSM].
type Options struct {
	// Ring takes the events; nil: nothing is announced. The FSM is its one
	// producer: Raft's apply goroutine.
	Ring *fanout.Ring
	// Logger for what an operator should know; nil discards it.
	Logger *slog.Logger
}

// FSM is the state machine. The package comment says who may call what, and
// when; make one with [New].
type FSM struct {
	ring   *fanout.Ring
	logger *slog.Logger
	keep   limits

	// Of the apply goroutine.
	refused uint64          // bad commands so far
	events  []*fanout.Event // of one command
	back    wentBack

	applied bell // rings after each batch, and after a restore
	expires bell // rings when the next deadline is another

	told    atomic.Uint64           // the last batch whose events are in the ring
	cluster atomic.Pointer[Cluster] // as in store, where it is set once; nil before

	mu    sync.RWMutex // taken for writing by the apply goroutine, and to copy
	store *store
	batch uint64 // counts batches, and restores
}

var _ raft.BatchingFSM = (*FSM)(nil)

// New returns an empty state machine.
func New(o Options) *FSM { return newFSM(o, kept) }

func newFSM(o Options, keep limits) *FSM {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &FSM{ring: o.Ring, logger: o.Logger, keep: keep, store: newStore(keep)}
}

// Get returns the entry of key, or [ErrNotFound]. Any goroutine may call it; it
// waits at most for the batch that is being applied.
func (f *FSM) Get(key string) (Entry, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if e := f.store.entries.get(key); e != nil {
		return *e, nil
	}
	return Entry{}, &NotFoundError{Key: key}
}

// Revision returns the log index of the last command that was applied, failed
// ones included; 0 before the first. Any goroutine may call it.
func (f *FSM) Revision() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.store.revision
}

// Len returns how many keys exist. Any goroutine may call it.
func (f *FSM) Len() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.store.entries.len()
}

// Cluster returns the constants of the cluster, false before its Init command
// was applied. Any goroutine may call it; it never blocks.
func (f *FSM) Cluster() (Cluster, bool) {
	if c := f.cluster.Load(); c != nil {
		return *c, true
	}
	return Cluster{}, false
}

// noteCluster has [FSM.Cluster] return what the store has. The caller holds mu.
func (f *FSM) noteCluster() {
	var c *Cluster // a restored state may be of before Init
	if f.store.initialized() {
		c = new(f.store.cluster)
	}
	f.cluster.Store(c)
}

// Apply applies one log entry as [FSM.ApplyBatch] does.
func (f *FSM) Apply(l *raft.Log) any {
	return f.ApplyBatch([]*raft.Log{l})[0]
}

// ApplyBatch applies committed log entries, in order, and publishes their
// events. It returns a [Result] for each command and nil for an entry of any
// other type. Only Raft's apply goroutine may call it.
//
// The events are published after the lock is released: a reader that was woken
// by one must find its change, and not the lock.
func (f *FSM) ApplyBatch(logs []*raft.Log) []any {
	responses := make([]any, len(logs))
	changed := false
	below := f.back.below(logs)
	f.mu.Lock()
	deadline := f.store.deadlines.first()
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		var r Result
		f.events, r = f.store.apply(l, f.events[:0])
		for _, e := range f.events {
			if f.ring == nil {
				break
			}
			if !below {
				f.ring.Push(e)
			}
			changed = true
		}
		clear(f.events) // they are not held on to
		responses[i] = r
	}
	moved := deadline != f.store.deadlines.first()
	if f.cluster.Load() == nil {
		f.noteCluster()
	}
	f.batch++
	batch := f.batch
	f.mu.Unlock()
	switch {
	case changed && below:
		f.ring.Reset(f.back.pass(logs, f.logger))
	case changed:
		f.ring.Flush()
	}
	f.told.Store(batch)
	f.applied.ring()
	if moved {
		f.expires.ring()
	}
	f.reportRefused(responses)
	return responses
}

// reportRefused logs bad commands: some member proposes what this one does not
// understand, and their states part. It logs the 1st, 2nd, 4th, 8th, …, so that
// a stream of them does not fill the log.
func (f *FSM) reportRefused(responses []any) {
	for _, response := range responses {
		r, ok := response.(Result)
		if !ok || r.Err == nil || !errors.Is(r.Err, ErrBadCommand) {
			continue
		}
		if f.refused++; bits.OnesCount64(f.refused) == 1 {
			f.logger.Error("refused a command that this program does not understand",
				"revision", r.Revision, "refused", f.refused, "error", r.Err)
		}
	}
}

// Snapshot captures the state; nothing is written before Persist, which does
// not stop applies. Only Raft's apply goroutine may call it.
//
// It takes the lock for writing, not for reading: to copy the entries is to
// change what the original may change in place.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &snapshot{
		revision:   f.store.revision,
		time:       f.store.time,
		cluster:    f.store.cluster,
		entries:    f.store.entries.copy(),
		tombstones: f.store.tombstones.clone(),
		requests:   f.store.requests.clone(),
		floor:      f.store.floor,
	}, nil
}

// Restore replaces the state by that of a snapshot and publishes a
// [fanout.Reset] event at its revision, or, if the state goes back, just above
// the last one; where the log goes back, too, one for each batch follows. Readers
// go on with the old state until the new one is complete. On an error, which wraps
// [ErrCorruptSnapshot] unless reading itself failed, the old state stays. Raft closes
// the reader. Only Raft's apply goroutine may call it.
func (f *FSM) Restore(r io.ReadCloser) error {
	s, err := readSnapshot(r, f.keep)
	if err != nil {
		return err
	}
	f.mu.Lock()
	before := f.store.revision
	f.store = s
	f.noteCluster()
	f.batch++
	batch := f.batch
	f.mu.Unlock()
	if f.ring != nil {
		// The ring is further than the state before that if this is not the first that goes back.
		f.ring.Reset(f.back.restored(max(before, f.ring.Revision()), s.revision))
	}
	f.told.Store(batch)
	f.applied.ring()
	f.expires.ring()
	f.logger.Info("restored a snapshot", "revision", s.revision, "keys", s.entries.len())
	return nil
}
