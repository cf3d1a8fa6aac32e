package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// The outcomes of reads and writes, beside those of package fsm (ErrNotFound,
// ErrConflict, ErrValueTooLarge, ErrBadBatch, ErrBadTTL, ErrBadRequestID,
// ErrRequestReused) and fanout (ErrBadKey).
var (
	// ErrNoLeader says that the cluster had no leader until the deadline.
	// Nothing was changed.
	ErrNoLeader = errors.New("node: the cluster has no leader; are a majority of its nodes up and connected?")
	// ErrNotLeader says that another node leads, or has led meanwhile. Nothing was
	// changed.
	ErrNotLeader = errors.New("node: another node leads")
	// ErrUnknownOutcome says that the write may or may not take effect, or has
	// done so: leadership was lost, or the deadline passed, on the way. Read to
	// know.
	ErrUnknownOutcome = errors.New("node: unknown outcome; read to know")
	// ErrBehind says that the node had not applied the revision that a stale read
	// asked for until the deadline.
	ErrBehind = errors.New("node: this node is behind")
	// ErrBusy says that too many requests are under way. Nothing was changed.
	ErrBusy = errors.New("node: too many requests are under way")
	// ErrRestoring says that the state is being replaced by a backup, in seconds.
	// Nothing was changed; repeat it.
	ErrRestoring = errors.New("node: a backup is being restored; repeat it in a moment")
	// ErrBackupTooLarge refuses a backup beyond Config.MaxRestoreBytes. Nothing was
	// changed.
	ErrBackupTooLarge = errors.New("node: backup too large")
	// ErrClosed says that the node is closing or closed.
	ErrClosed = errors.New("node: closed")
)

// raftError turns an error of the future of a Raft command into one of ours.
func raftError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrBusy
	}
	// Leadership was lost, or Raft shut down; or the log could not be written, and
	// may hold the entry all the same.
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// serviceError gives an error the code that goes over the wire.
func serviceError(err error) error {
	code := nats.CodeInternal
	gone := (*fsm.GoneError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &gone):
		return &nats.GoneError{Description: plain(err), Oldest: gone.Oldest}
	case errors.Is(err, fanout.ErrBadKey):
		return nats.KeyError(err)
	case errors.Is(err, fsm.ErrBadBatch), errors.Is(err, fsm.ErrBadTTL), errors.Is(err, fsm.ErrBadRequestID), errors.Is(err, fsm.ErrRequestReused),
		errors.Is(err, fsm.ErrCorruptSnapshot):
		code = nats.CodeBadRequest
	case errors.Is(err, fsm.ErrNotFound):
		code = nats.CodeNotFound
	case errors.Is(err, fsm.ErrConflict):
		code = nats.CodeConflict
	case errors.Is(err, fsm.ErrValueTooLarge), errors.Is(err, ErrBackupTooLarge):
		code = nats.CodeTooLarge
	case errors.Is(err, ErrBusy):
		code = nats.CodeBusy
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrNoLeader), errors.Is(err, ErrBehind), errors.Is(err, ErrRemoved),
		errors.Is(err, ErrRestoring), errors.Is(err, ErrClosed),
		errors.Is(err, ErrStorage), errors.Is(err, ErrOtherCluster), errors.Is(err, ErrSameID), errors.Is(err, ErrBroker):
		code = nats.CodeUnavailable
	case errors.Is(err, ErrUnknownOutcome):
		code = nats.CodeUnknown
	case errors.Is(err, context.DeadlineExceeded): // of what changes nothing, or was not begun
		code = nats.CodeUnavailable
	}
	return &nats.Error{Code: code, Description: plain(err)}
}

// plain returns an error's text without the package name in front, which means
// nothing to who reads it in a reply.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range []string{"node: ", "fsm: ", "fanout: ", "nats: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}
