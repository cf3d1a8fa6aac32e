package nats

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/watchcast/watchcast/fanout"
)

// Code is the number in Nats-Service-Error-Code, and the status over HTTP.
type Code int

// The codes a request may be answered with. Nothing was changed, except that
// after CodeUnknown and CodeUnavailable it may have been: a node that leads no more
// does nothing, but the next leader may have received the same request.
const (
	CodeBadRequest  Code = 400 // malformed key, header or value; do not repeat
	CodeNotFound    Code = 404 // no such key
	CodeConflict    Code = 409 // the condition of Kv-If-Rev does not hold
	CodeGone        Code = 410 // what changed since Kv-Since cannot be told any more; list
	CodeTooLarge    Code = 413 // key or value over the limit
	CodeBusy        Code = 429 // too many requests under way; repeat later
	CodeInternal    Code = 500 // a defect; see the node's log
	CodeUnavailable Code = 503 // this node does not lead, or there is no leader; repeat
	CodeUnknown     Code = 504 // leadership was lost on the way, or a disk failed: applied or not, read to know
)

// Error is a failed request. Two errors with the same code are the same to
// [errors.Is].
type Error struct {
	Code        Code
	Description string // one line: what is wrong, and what to do
}

func (e *Error) Error() string { return strconv.Itoa(int(e.Code)) + ": " + e.Description }

// Is makes errors.Is(err, &Error{Code: c}) ask for the code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// KeyError returns the error for a key that was refused.
func KeyError(err error) *Error {
	description := strings.TrimPrefix(err.Error(), "fanout: ")
	if errors.Is(err, fanout.ErrKeyTooLong) {
		return &Error{CodeTooLarge, description}
	}
	return &Error{CodeBadRequest, description}
}

// maxDescription bounds what is said of an error over the wire. It may quote the request, and
// an answer that is longer than the broker takes would be none.
const maxDescription = 512

// brief leaves out the middle of a description that is too long: what is wrong stands at the
// beginning, and what to do at the end.
func brief(description string) string {
	const between = " … "
	if len(description) <= maxDescription {
		return description
	}
	head := (maxDescription - len(between)) / 2
	tail := len(description) - head
	for head > 0 && !utf8.RuneStart(description[head]) {
		head--
	}
	for tail < len(description) && !utf8.RuneStart(description[tail]) {
		tail++
	}
	return description[:head] + between + description[tail:]
}

// asError returns err as an Error; one of another kind is internal. There is
// always a description: without one, an answer is no error on the wire.
func asError(err error) *Error {
	e := &Error{Code: CodeInternal, Description: err.Error()}
	if coded := (*Error)(nil); errors.As(err, &coded) {
		e = coded
	}
	if e.Description == "" {
		return &Error{Code: e.Code, Description: "no more is known"}
	}
	return e
}
