package nats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

// operation is one element of the JSON array that a batch is on the wire.
type operation struct {
	Op     string  `json:"op"`               // put or delete
	Key    string  `json:"key"`              // in its subject form
	Value  *string `json:"value,omitempty"`  // of a put, if it is text
	Base64 []byte  `json:"base64,omitempty"` // of a put, if it is not
	IfRev  *uint64 `json:"if_rev,omitempty"` // as Kv-If-Rev
	TTL    *string `json:"ttl,omitempty"`    // of a put, as Kv-TTL
}

const batchExample = `[{"op":"put","key":"a","value":"1"},{"op":"delete","key":"b","if_rev":7}]`

// parseOperations reads the payload of a batch. How many operations there may be, and
// which, is the backend's to say.
func parseOperations(data []byte) ([]Operation, error) {
	if !utf8.Valid(data) {
		// The decoder would put something else in place of what is not.
		return nil, &Error{CodeBadRequest, "the batch is not UTF-8; give a value that is no text as base64"}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var wire []operation
	if err := d.Decode(&wire); err != nil {
		return nil, badBatch("the batch is not understood: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, badBatch("something follows the batch")
	}
	if half := halfCharacter(data); half != "" {
		return nil, &Error{CodeBadRequest, fmt.Sprintf("the batch has %s, which is half of a character; give a value that is no text as base64, and other bytes of a key as %%FF and the like", half)}
	}
	operations := make([]Operation, len(wire))
	for i, w := range wire {
		o, err := w.operation()
		if coded := (*Error)(nil); errors.As(err, &coded) {
			return nil, &Error{coded.Code, fmt.Sprintf("operation %d of the batch: %s", i, coded.Description)}
		}
		operations[i] = o
	}
	if err := checkFields(data); err != nil {
		return nil, err
	}
	return operations, nil
}

// halfCharacter returns the first escape of valid JSON that is one half of a surrogate pair
// without the other, or "". The decoder would put something else in its place.
func halfCharacter(data []byte) string {
	for {
		at := bytes.IndexByte(data, '\\')
		if at < 0 {
			return ""
		}
		data = data[at:]
		first, escaped := unicodeEscape(data)
		switch {
		case !escaped:
			data = data[2:] // the second may be a backslash
			continue
		case !utf16.IsSurrogate(first):
			data = data[6:]
			continue
		}
		second, _ := unicodeEscape(data[6:])
		if utf16.DecodeRune(first, second) == utf8.RuneError {
			return string(data[:6])
		}
		data = data[12:]
	}
}

// unicodeEscape returns the UTF-16 code unit that valid JSON begins with, if it is one.
func unicodeEscape(data []byte) (rune, bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(unit), err == nil
}

func badBatch(format string, args ...any) *Error {
	return &Error{CodeBadRequest, fmt.Sprintf(format, args...) + "; give " + batchExample}
}

func (w operation) operation() (Operation, error) {
	key, err := fanout.ParseSubjectForm(w.Key)
	if err != nil {
		return Operation{}, KeyError(err)
	}
	o := Operation{Key: key, IfRevision: w.IfRev}
	switch values := w.values(); {
	case w.Op == "delete" && values == 0 && w.TTL == nil:
		o.Delete = true
	case w.Op == "delete":
		return Operation{}, &Error{CodeBadRequest, "a delete has no value and no ttl; leave them out"}
	case w.Op != "put":
		return Operation{}, &Error{CodeBadRequest, fmt.Sprintf("op is %.20q; give put or delete", w.Op)}
	case values != 1:
		return Operation{}, &Error{CodeBadRequest, "a put has one value; give it as value, or as base64"}
	case w.Value != nil:
		o.Value = []byte(*w.Value)
	default:
		o.Value = w.Base64
	}
	if w.TTL != nil {
		ttl, ok := parseTTL(*w.TTL)
		if !ok {
			return Operation{}, &Error{CodeBadRequest, fmt.Sprintf("ttl is %.40q; give one %s", *w.TTL, wantTTL)}
		}
		o.TTL = ttl
	}
	return o, nil
}

// values returns how many values are given.
func (w operation) values() (n int) {
	if w.Value != nil {
		n++
	}
	if w.Base64 != nil {
		n++
	}
	return n
}

func (s *Service) batch(req micro.Request) {
	h, err := headersOf(req, HeaderRequestID)
	if err != nil {
		s.refuse(req, err)
		return
	}
	id, err := h.requestID()
	if err != nil {
		s.refuse(req, err)
		return
	}
	operations, err := parseOperations(req.Data())
	if err != nil {
		s.refuse(req, err)
		return
	}
	s.propose(req, func() Pending { return s.backend.Batch(operations, id) })
}
