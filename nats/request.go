package nats

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

// Headers of requests.
const (
	// HeaderIfRev makes a write conditional: the key's revision must be this
	// one, 0 for a key that must not exist.
	HeaderIfRev = "Kv-If-Rev"

	requestHeaders = "Kv-" // a header with this prefix that is not known is refused
)

// key returns the key of a request's subject.
func (s *Service) key(req micro.Request, op string) (string, error) {
	form := strings.TrimPrefix(req.Subject(), s.o.Subjects.KV+"."+op+".")
	key, err := fanout.ParseSubjectForm(form)
	if err != nil {
		return "", KeyError(err)
	}
	return key, nil
}

// condition returns the revision of Kv-If-Rev, nil if there is none.
func condition(req micro.Request) (*uint64, error) {
	if err := knownHeaders(req, HeaderIfRev); err != nil {
		return nil, err
	}
	var values []string
	for name, v := range req.Headers() {
		if strings.EqualFold(name, HeaderIfRev) {
			values = append(values, v...)
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	revision, err := strconv.ParseUint(values[0], 10, 64)
	if err != nil || len(values) > 1 {
		return nil, &Error{CodeBadRequest, fmt.Sprintf("header %s is %q; give one revision, 0 for a key that must not exist", HeaderIfRev, strings.Join(values, ", "))}
	}
	return &revision, nil
}

// knownHeaders refuses a request with a Kv- header that is not among known: a
// condition that this version does not understand must not be dropped. Case does
// not matter. A name with white space around it passes for none that is known.
func knownHeaders(req micro.Request, known ...string) error {
next:
	for name := range req.Headers() {
		if bare := strings.TrimSpace(name); len(bare) < len(requestHeaders) || !strings.EqualFold(bare[:len(requestHeaders)], requestHeaders) {
			continue
		}
		for _, k := range known {
			if strings.EqualFold(name, k) {
				continue next
			}
		}
		return &Error{CodeBadRequest, fmt.Sprintf("header %q is not known to this operation; leave it out", name)}
	}
	return nil
}
