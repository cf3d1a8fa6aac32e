package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// TestWireErrors holds which code an error becomes, and that its description is
// one line: it travels in a header.
func TestWireErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code nats.Code
	}{
		{fanout.CheckKey(""), nats.CodeBadRequest},
		{fanout.CheckKey(strings.Repeat("x", fanout.MaxKeyBytes+1)), nats.CodeTooLarge},
		{fmt.Errorf("%w: there is no key", fsm.ErrNotFound), nats.CodeNotFound},
		{&fsm.ConflictError{Key: "k", Revision: 7}, nats.CodeConflict},
		{fsm.ErrBadBatch, nats.CodeBadRequest},
		{fsm.ErrValueTooLarge, nats.CodeTooLarge},
		{raftError(raft.ErrEnqueueTimeout), nats.CodeBusy},
		{raftError(raft.ErrNotLeader), nats.CodeUnavailable},
		{raftError(raft.ErrLeadershipTransferInProgress), nats.CodeUnavailable},
		{ErrClosed, nats.CodeUnavailable},
		{ErrBehind, nats.CodeUnavailable},
		{ErrNoLeader, nats.CodeUnavailable},
		{raftError(raft.ErrLeadershipLost), nats.CodeUnknown},
		{raftError(raft.ErrRaftShutdown), nats.CodeUnknown},
		{raftError(raft.ErrAbortedByRestore), nats.CodeUnknown},
		{raftError(errors.New("disk on fire")), nats.CodeUnknown},
		{fmt.Errorf("%w: %w", ErrUnknownOutcome, context.DeadlineExceeded), nats.CodeUnknown},
		{errBackupStart, nats.CodeUnavailable},
		{context.Canceled, nats.CodeInternal},
	} {
		err := serviceError(c.err)
		e, ok := errors.AsType[*nats.Error](err)
		if !ok || e.Code != c.code {
			t.Errorf("%v becomes %v; want code %d", c.err, err, c.code)
			continue
		}
		if e.Description == "" || strings.ContainsAny(e.Description, "\r\n") || strings.Contains(e.Description, "fsm: ") || strings.Contains(e.Description, "node: ") {
			t.Errorf("%v is described as %q", c.err, e.Description)
		}
	}
	if serviceError(nil) != nil || raftError(nil) != nil {
		t.Error("no error becomes one")
	}
}
