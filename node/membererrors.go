package node

import (
	"context"
	"errors"
	"net/http"
)

// The outcomes of changing the membership, beside [ErrNotLeader], [ErrNoLeader],
// [ErrUnknownOutcome], [ErrBusy] and [ErrClosed]. Nothing was changed.
var (
	// ErrBadMember says that an id or an address is malformed.
	ErrBadMember = errors.New("node: bad member")
	// ErrUnknownMember says that no member has the id.
	ErrUnknownMember = errors.New("node: no such member")
	// ErrDuplicateMember says that the id belongs to a member with another address,
	// or the address to one with another id.
	ErrDuplicateMember = errors.New("node: taken by a member")
	// ErrLastVoter says that the cluster would be left without a voter.
	ErrLastVoter = errors.New("node: the last voter")
	// ErrNoQuorum says that the voters that would be left, and answer, are no
	// majority of those left.
	ErrNoQuorum = errors.New("node: would leave no majority")
	// ErrNoTransfer says that the leader, which was to lose its vote, found nobody who
	// leads in its place in time.
	ErrNoTransfer = errors.New("node: leadership was not handed over")
	// ErrUnreachable says that the leader does not reach the node at its Raft
	// address, or reaches another one there.
	ErrUnreachable = errors.New("node: not reached by the leader")
	// ErrOtherCluster says that the node's data are of another cluster: that of the
	// node that is to be added, or of this one, which has stopped by itself because so
	// many of the nodes that it knows are of another cluster that no majority is left.
	// Nothing was exchanged with them.
	ErrOtherCluster = errors.New("node: data of another cluster")
	// ErrSmallPayload says that the node's broker does not take messages with the
	// longest value that the cluster allows.
	ErrSmallPayload = errors.New("node: maximum payload too small")
	// ErrNotCaughtUp says that a non-voter has too little of the log to become a
	// voter.
	ErrNotCaughtUp = errors.New("node: not caught up")
	// ErrRemoved says that this node was removed from its cluster. It is also the
	// outcome of reads and writes then.
	ErrRemoved = errors.New("node: this node was removed from its cluster; stop it, and start it with an empty data directory and Join if it is to come back")
	// ErrJoin says that the node could not join: nobody took it in within the time,
	// or it was refused. The text says which, and the mend.
	ErrJoin = errors.New("node: cannot join")
)

// memberCodes are the errors as they go over HTTP.
var memberCodes = []struct {
	err    error
	code   string
	status int
}{
	{ErrBadMember, "bad_member", http.StatusBadRequest},
	{ErrUnauthorized, "unauthorized", http.StatusUnauthorized},
	{ErrUnknownMember, "unknown_member", http.StatusNotFound},
	{ErrDuplicateMember, "duplicate_member", http.StatusConflict},
	{ErrLastVoter, "last_voter", http.StatusConflict},
	{ErrNoQuorum, "no_quorum", http.StatusConflict},
	{ErrUnreachable, "unreachable", http.StatusConflict},
	{ErrOtherCluster, "other_cluster", http.StatusConflict},
	{ErrSmallPayload, "small_payload", http.StatusConflict},
	{ErrNotCaughtUp, "not_caught_up", http.StatusConflict},
	{ErrBusy, "busy", http.StatusTooManyRequests},
	{ErrUnknownOutcome, "unknown_outcome", http.StatusGatewayTimeout},
	{ErrNoTransfer, "no_transfer", http.StatusServiceUnavailable},
	{ErrNotLeader, "not_leader", http.StatusServiceUnavailable},
	{ErrNoLeader, "no_leader", http.StatusServiceUnavailable},
	{ErrRemoved, "removed", http.StatusServiceUnavailable},
	{ErrStorage, "storage", http.StatusServiceUnavailable},
	{ErrSameID, "same_id", http.StatusServiceUnavailable},
	{ErrBroker, "broker", http.StatusServiceUnavailable},
	{ErrClosed, "closed", http.StatusServiceUnavailable},
	{context.DeadlineExceeded, "no_leader", http.StatusServiceUnavailable},
}

// memberError is an error over HTTP: JSON.
type memberError struct {
	Code string `json:"code"`  // one of memberCodes, or "internal"
	Text string `json:"error"` // one line: what is wrong, and what to do
}

func encodeMemberError(err error) (memberError, int) {
	for _, c := range memberCodes {
		if errors.Is(err, c.err) {
			return memberError{c.code, plain(err)}, c.status
		}
	}
	return memberError{"internal", plain(err)}, http.StatusInternalServerError
}

// decode returns the error that the other node had.
func (e memberError) decode() error {
	for _, c := range memberCodes {
		if c.code == e.Code {
			return &remoteError{e.Text, c.err}
		}
	}
	return &remoteError{e.Text, nil}
}

// remoteError is an error of another node.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

// again reports whether a change that failed this way may succeed later.
func again(err error) bool {
	for _, later := range []error{ErrNotLeader, ErrNoLeader, ErrBusy, ErrUnknownOutcome, ErrNoTransfer, ErrClosed} {
		if errors.Is(err, later) {
			return true
		}
	}
	return false
}
