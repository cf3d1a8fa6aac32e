package nats

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

// ServiceOptions configures a [Service] or a [Replica]. Conn is required.
type ServiceOptions struct {
	Conn     *nats.Conn // made with [ServiceConn]
	Subjects Subjects
	Version  string            // semantic version, shown by nats micro
	Metadata map[string]string // shown by nats micro
	// Logger gets what a request cannot be told. Default: nothing.
	Logger *slog.Logger

	ackTime, listingTime time.Duration // shorter ones, of tests
}

// responder is what services have in common: it reads requests, and answers them.
type responder struct {
	conn     *nats.Conn
	subjects Subjects
	version  string
	metadata map[string]string
	logger   *slog.Logger

	micro micro.Service
	extra []*nats.Subscription

	complaints *complaints
}

func newResponder(o ServiceOptions) (responder, error) {
	if o.Conn == nil {
		return responder{}, fmt.Errorf("%w: a service needs a connection", fanout.ErrBadOption)
	}
	if err := o.Subjects.Check(); err != nil {
		return responder{}, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return responder{conn: o.Conn, subjects: o.Subjects, version: o.Version, metadata: o.Metadata, logger: o.Logger, complaints: new(complaints)}, nil
}

// maxReplyBytes bounds the reply subject of a request, which who asks has chosen. The control
// line of an answer has it, and in a list the subject of an acknowledgement besides; one that
// is too long for the broker, 4,096 bytes for a stock NATS server, makes that close the
// connection, and the client library does not connect again then.
const maxReplyBytes = 3 << 10

// answerable is handle for requests that can be answered. Of another one nothing is done: to
// refuse it is an answer, too.
func (r *responder) answerable(handle micro.HandlerFunc) micro.HandlerFunc {
	return func(req micro.Request) {
		if r.fits(callerOf(req)) {
			handle(req)
		}
	}
}

func (r *responder) fits(c caller) bool {
	if len(c.reply) <= maxReplyBytes {
		return true
	}
	r.complain("request is passed over", &micro.NATSError{Subject: c.subject, Description: fmt.Sprintf("its reply subject has %d bytes; the limit is %d", len(c.reply), maxReplyBytes)})
	return false
}

// leave ends all subscriptions. They still hand over what they hold.
func (r *responder) leave() {
	if r.micro != nil {
		if err := r.micro.Stop(); err != nil {
			r.logger.Debug("service was gone already", "error", err)
		}
	}
	for _, sub := range r.extra {
		if err := sub.Unsubscribe(); err != nil {
			r.logger.Debug("subscription was gone already", "error", err)
		}
	}
}

// caller is who waits for an answer. Handlers answer by the [micro.Request];
// whoever answers later must not touch it, since package micro reads it without
// a lock when the handler has returned.
type caller struct{ subject, reply string }

func callerOf(req micro.Request) caller { return caller{req.Subject(), req.Reply()} }

// key returns the key of a request's subject.
func (r *responder) key(req micro.Request, op string) (string, error) {
	form := strings.TrimPrefix(req.Subject(), r.subjects.KV+"."+op+".")
	key, err := fanout.ParseSubjectForm(form)
	if err != nil {
		return "", KeyError(err)
	}
	return key, nil
}

// noKey answers a request to an operation without a key.
func (r *responder) noKey(m *nats.Msg) {
	if c := (caller{m.Subject, m.Reply}); r.fits(c) {
		r.fail(c, &Error{CodeBadRequest, "the key is missing; request " + m.Subject + ".<key>"})
	}
}

func (r *responder) answer(c caller, e Entry) {
	header := nats.Header{HeaderRev: {strconv.FormatUint(e.Revision, 10)}}
	if e.TTL > 0 {
		header[HeaderTTL] = []string{shownTTL(e.TTL).String()}
	}
	if errors.Is(r.send(c, header, e.Value), nats.ErrMaxPayload) {
		r.fail(c, &Error{CodeTooLarge, fmt.Sprintf("the value has %d bytes, more than this broker carries", len(e.Value))})
	}
}

// shownTTL is what is said of what is left of a time to live.
func shownTTL(left time.Duration) time.Duration {
	return max(left.Round(time.Millisecond), time.Millisecond)
}

// fail answers a request with an error.
func (r *responder) fail(c caller, err error) {
	e := r.failure(c.subject, err)
	header := nats.Header{
		micro.ErrorCodeHeader: {strconv.Itoa(int(e.Code))},
		micro.ErrorHeader:     {e.Description},
	}
	if gone := (*GoneError)(nil); errors.As(err, &gone) {
		header[HeaderOldest] = []string{strconv.FormatUint(gone.Oldest, 10)}
	}
	r.send(c, header, nil)
}

// refuse is fail for a handler. Package micro counts the error.
func (r *responder) refuse(req micro.Request, err error) {
	e := r.failure(req.Subject(), err)
	if err := req.Error(strconv.Itoa(int(e.Code)), e.Description, nil); err != nil {
		r.logger.Debug("reply was not sent", "error", err)
	}
}

// failure gives an error the form of an answer, and logs it if it is a defect.
func (r *responder) failure(subject string, err error) *Error {
	e := asError(err)
	if e.Code == CodeInternal {
		r.logger.Error("request failed", "subject", subject, "error", e.Description)
	}
	return &Error{e.Code, brief(e.Description)}
}

func (r *responder) send(c caller, header nats.Header, data []byte) error {
	if c.reply == "" {
		return nil
	}
	err := r.conn.PublishMsg(&nats.Msg{Subject: c.reply, Header: header, Data: data})
	if err != nil {
		r.logger.Debug("reply was not sent", "error", err)
	}
	return err
}
