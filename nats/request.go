package nats

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/micro"
)

// Headers of requests.
const (
	// HeaderIfRev makes a write conditional: the key's revision must be this
	// one, 0 for a key that must not exist.
	HeaderIfRev = "Kv-If-Rev"
	// HeaderMinRev is the revision that a replica must have applied before it
	// answers a stale read.
	HeaderMinRev = "Kv-Min-Rev"

	requestHeaders = "Kv-" // a header with this prefix that is not known is refused
)

// condition returns the revision of Kv-If-Rev, nil if there is none.
func condition(req micro.Request) (*uint64, error) {
	return revisionHeader(req, HeaderIfRev, "0 for a key that must not exist")
}

// minimum returns the revision of Kv-Min-Rev, 0 if there is none.
func minimum(req micro.Request) (uint64, error) {
	revision, err := revisionHeader(req, HeaderMinRev, "the one that a write was answered with, say")
	if revision == nil {
		return 0, err
	}
	return *revision, err
}

// revisionHeader returns the revision of the one Kv- header that a request may
// have, nil if there is none.
func revisionHeader(req micro.Request, header, hint string) (*uint64, error) {
	if err := knownHeaders(req, header); err != nil {
		return nil, err
	}
	var values []string
	for name, v := range req.Headers() {
		if strings.EqualFold(name, header) {
			values = append(values, v...)
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	revision, err := strconv.ParseUint(values[0], 10, 64)
	if err != nil || len(values) > 1 {
		return nil, &Error{CodeBadRequest, fmt.Sprintf("header %s is %q; give one revision, %s", header, strings.Join(values, ", "), hint)}
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
