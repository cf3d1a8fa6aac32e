package fsm

import (
	"log/slog"

	"github.com/hashicorp/raft"
)

// wentBack sees to it that the ring does not go back where the state does. Readers of the ring
// pass over what lies below where they are. Raft gives a backup that is restored an index above
// all that was, but not above what another leader alone has restored before: when that one
// follows, the log goes on far below what its ring has shown. As long as it does, each batch
// that changes something is a [fanout.Reset], above the last one: whoever watches reads again.
// It ends when the log has overtaken these, or with the process.
type wentBack struct {
	at   uint64 // where the ring stands since the state went back; 0 when the log lies above
	said bool
}

// restored returns the revision of the Reset for a state, in a ring that has shown as much.
func (w *wentBack) restored(shown, revision uint64) (reset uint64) {
	*w = wentBack{}
	if shown < revision {
		return revision
	}
	w.at = shown + 1
	return w.at
}

// below reports whether a batch of the log begins where the ring has been.
func (w *wentBack) below(logs []*raft.Log) bool {
	if w.at == 0 || len(logs) == 0 {
		return false
	}
	if logs[0].Index > w.at {
		*w = wentBack{}
		return false
	}
	return true
}

// pass returns the revision of the Reset in place of such a batch.
func (w *wentBack) pass(logs []*raft.Log, log *slog.Logger) (reset uint64) {
	if !w.said {
		w.said = true
		log.Warn("the state went back behind what was shown of it, so watchers in this node are told to read again with each change; start the node again to end that",
			"revision", logs[0].Index, "shown", w.at)
	}
	w.at = max(w.at+1, logs[len(logs)-1].Index)
	return w.at
}
