package nats

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// Headers of requests.
const (
	// HeaderIfRev makes a write conditional: the key's revision must be this
	// one, 0 for a key that must not exist.
	HeaderIfRev = "Kv-If-Rev"
	// HeaderTTL is how long the key of a put lives: a duration as 30s, 1h30m, 250ms,
	// or a number of seconds. In the reply to a get it is how long it lives still.
	HeaderTTL = "Kv-TTL"
	// HeaderRequestID makes a write safe to repeat: of requests with the same id the
	// first one counts, and the others are answered as that one was.
	HeaderRequestID = "Kv-Request-Id"
	// HeaderMinRev is the revision that a replica must have applied before it
	// answers a stale read.
	HeaderMinRev = "Kv-Min-Rev"

	requestHeaders = "Kv-" // a header with this prefix that is not known is refused
)

// headers are the Kv- headers of a request, by their names as above.
type headers map[string][]string

// headersOf refuses a request with a Kv- header that is not among known, or with headers
// that cannot be read: a condition that is not understood must not be dropped. Case does
// not matter. A name with white space around it passes for none that is known.
func headersOf(req micro.Request, known ...string) (headers, error) {
	if brokenHeaders(req) {
		return nil, &Error{CodeBadRequest, "the headers cannot be read; give each a line with a name, a colon, a blank and a value"}
	}
	var h headers
next:
	for name, values := range req.Headers() {
		if bare := strings.TrimSpace(name); len(bare) < len(requestHeaders) || !strings.EqualFold(bare[:len(requestHeaders)], requestHeaders) {
			continue
		}
		for _, k := range known {
			if strings.EqualFold(name, k) {
				if h == nil {
					h = make(headers)
				}
				h[k] = append(h[k], values...)
				continue next
			}
		}
		return nil, &Error{CodeBadRequest, fmt.Sprintf("header %q is not known to this operation; leave it out", name)}
	}
	return h, nil
}

// read hands the one value of a header, if it is there, to parse, which reports
// whether it understands it. What it should have been is said by want.
func (h headers) read(name, want string, parse func(value string) bool) error {
	values := h[name]
	if len(values) == 0 || len(values) == 1 && parse(values[0]) {
		return nil
	}
	return &Error{CodeBadRequest, fmt.Sprintf("header %s is %q; give one %s", name, strings.Join(values, ", "), want)}
}

// revision returns the revision in a header, nil if it is not there.
func (h headers) revision(name, hint string) (revision *uint64, err error) {
	err = h.read(name, "revision, "+hint, func(value string) bool {
		r, err := strconv.ParseUint(value, 10, 64)
		revision = &r
		return err == nil
	})
	return revision, err
}

// minimum returns the revision of Kv-Min-Rev, 0 if there is none.
func (h headers) minimum() (uint64, error) {
	revision, err := h.revision(HeaderMinRev, "the one that a write was answered with, say")
	if revision == nil {
		return 0, err
	}
	return *revision, err
}

// operation returns what the headers say of a write, without its key and value.
func (h headers) operation() (o Operation, err error) {
	if o.IfRevision, err = h.revision(HeaderIfRev, "0 for a key that must not exist"); err != nil {
		return Operation{}, err
	}
	err = h.read(HeaderTTL, wantTTL, func(value string) (ok bool) {
		o.TTL, ok = parseTTL(value)
		return ok
	})
	return o, err
}

// requestID returns the request id, empty if there is none. How long it may be is
// the backend's to say.
func (h headers) requestID() (id string, err error) {
	err = h.read(HeaderRequestID, "id, the same one when this request is repeated", func(value string) bool {
		id = value
		return value != ""
	})
	return id, err
}

const wantTTL = "time to live above 0, as 30s, 1h30m or 250ms, or a number of seconds"

// parseTTL reads a duration, or a number of seconds, as NATS itself does. How long it
// may be is the backend's to say.
func parseTTL(text string) (ttl time.Duration, ok bool) {
	if _, err := strconv.ParseUint(text, 10, 32); err == nil {
		text += "s"
	}
	ttl, err := time.ParseDuration(text)
	return ttl, err == nil && ttl > 0
}
