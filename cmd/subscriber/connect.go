package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// connection holds the flags that say how to reach the servers. They have the names
// that they have in the nats command.
type connection struct {
	Server      string `short:"s" placeholder:"URL,..." default:"nats://127.0.0.1:4222" help:"NATS servers (${default})."`
	User        string `placeholder:"NAME" help:"User name, or a token if there is no password."`
	Password    string `placeholder:"TEXT" help:"Password; better in WATCHCAST_PASSWORD, where other users do not see it."`
	Creds       string `placeholder:"FILE" help:"User credentials."`
	Nkey        string `placeholder:"FILE" help:"Seed of a user NKey."`
	TLSCert     string `name:"tlscert" placeholder:"FILE" help:"TLS certificate, with --tlskey."`
	TLSKey      string `name:"tlskey" placeholder:"FILE" help:"TLS private key."`
	TLSCA       string `name:"tlsca" placeholder:"FILE" help:"TLS certificate authorities, instead of the system's."`
	InboxPrefix string `name:"inbox-prefix" placeholder:"SUBJECT" default:"_INBOX" help:"Where answers come in, if the user has a place of its own (${default})."`
}

// check refuses flags that do not go together, files that are not there, and a place for
// answers where none would come.
func (c *connection) check(subjects nats.Subjects) error {
	switch {
	case strings.Trim(c.Server, ", ") == "":
		return errors.New("--server is empty; give the URL of a server")
	case c.Password != "" && c.User == "":
		return errors.New("--password needs --user")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("--tlscert and --tlskey need each other")
	case c.Creds != "" && c.Nkey != "":
		return errors.New("--creds and --nkey exclude each other; give one")
	}
	for _, f := range []struct{ flag, path string }{
		{"--creds", c.Creds}, {"--nkey", c.Nkey}, {"--tlscert", c.TLSCert}, {"--tlskey", c.TLSKey}, {"--tlsca", c.TLSCA},
	} {
		if f.path == "" {
			continue
		}
		if _, err := os.Stat(f.path); err != nil {
			return fmt.Errorf("%s: %w", f.flag, err)
		}
	}
	if c.Creds != "" {
		if err := nats.CheckCreds(c.Creds); err != nil {
			return fmt.Errorf("--creds: %w", err)
		}
	}
	return c.checkInbox(subjects)
}

// checkInbox refuses what is no subject, for which the client library sends nothing or the
// broker cuts the connection, and what belongs to the nodes.
func (c *connection) checkInbox(subjects nats.Subjects) error {
	if _, err := fanout.ParseSubjectForm(c.InboxPrefix); err != nil {
		return fmt.Errorf("--inbox-prefix is %q; give tokens of letters and digits separated by dots, such as _INBOX", c.InboxPrefix)
	}
	for _, theirs := range slices.Concat(subjects.PublishedByNodes(), subjects.AnsweredByNodes()) {
		if strings.HasPrefix(c.InboxPrefix+".", strings.TrimSuffix(theirs, ">")) {
			return fmt.Errorf("--inbox-prefix is %q, but what matches %s belongs to the nodes; give another, such as _INBOX", c.InboxPrefix, theirs)
		}
	}
	return nil
}

func (c *connection) options() ([]natsgo.Option, error) {
	options := append(nats.ClientConn(), natsgo.Name("watchcast subscriber"), natsgo.CustomInboxPrefix(c.InboxPrefix))
	switch {
	case c.Password != "":
		options = append(options, natsgo.UserInfo(c.User, c.Password))
	case c.User != "":
		options = append(options, natsgo.Token(c.User))
	}
	if c.Creds != "" {
		options = append(options, natsgo.UserCredentials(c.Creds))
	}
	if c.Nkey != "" {
		nkey, err := natsgo.NkeyOptionFromSeed(c.Nkey)
		if err != nil {
			return nil, fmt.Errorf("--nkey: %s holds no seed of a user: %w", c.Nkey, err)
		}
		options = append(options, nkey)
	}
	if c.TLSCert != "" {
		options = append(options, natsgo.ClientCert(c.TLSCert, c.TLSKey))
	}
	if c.TLSCA != "" {
		options = append(options, natsgo.RootCAs(c.TLSCA))
	}
	return options, nil
}

// connect returns a connection that is made again whenever it is lost.
func (c *connection) connect(say *sayer) (*natsgo.Conn, error) {
	options, err := c.options()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errUsage, plain(err))
	}
	options = append(options,
		natsgo.Timeout(5*time.Second),
		natsgo.DisconnectErrHandler(func(_ *natsgo.Conn, err error) {
			if err != nil {
				say.line("disconnected: %v", err)
			}
		}),
		natsgo.ReconnectHandler(func(conn *natsgo.Conn) {
			say.well()
			say.line("connected again, to %s", conn.ConnectedUrlRedacted())
		}),
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			if !errors.Is(err, natsgo.ErrSlowConsumer) { // the watch says that
				say.complain(err.Error())
			}
		}),
	)
	conn, err := natsgo.Connect(c.Server, options...)
	if err != nil {
		err = nats.RedactError(c.Server, err)
		return nil, fmt.Errorf("cannot connect to %s: %w%s", nats.Redact(c.Server), err, hint(err))
	}
	return conn, nil
}

// hint says what to do about an error of connecting.
func hint(err error) string {
	switch {
	case errors.Is(err, natsgo.ErrAuthorization), errors.Is(err, natsgo.ErrAuthExpired):
		return "; give --user and --password, --creds or --nkey"
	case strings.Contains(err.Error(), "certificate"), strings.Contains(err.Error(), "tls:"):
		return "; see --tlsca, --tlscert and --tlskey"
	}
	return "; is a node running there?"
}

// plain is the text of an error without the name of the package it is of.
func plain(err error) string {
	text := strings.TrimPrefix(err.Error(), "fanout: ")
	return strings.TrimPrefix(text, "nats: ")
}
