package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

// NATSLogin is how a node proves to the brokers of [Config.NATSURL] who it is, where
// the URL does not say it: by one of the two files, which are read again for every
// connection.
type NATSLogin struct {
	Creds string // file with a user's JWT and its key, as nsc writes it
	NKey  string // file with the seed of a user's NKey
}

func (l NATSLogin) on() bool { return l != NATSLogin{} }

// NATSTLS is for connections to the brokers of [Config.NATSURL]. The files are PEM,
// and are read again for every connection.
type NATSTLS struct {
	Cert string // file with the certificate that the node shows, if the brokers ask for one
	Key  string // file with its key
	CA   string // file with the CA of the brokers' certificates; empty for those that the system trusts
}

func (t NATSTLS) on() bool { return t != NATSTLS{} }

// checkLogin refuses credentials that cannot be right.
func (c *Config) checkLogin() error {
	if c.NATSURL == "" {
		if c.NATSLogin.on() || c.NATSPublisherLogin.on() || c.NATSPublisherURL != "" || c.NATSTLS.on() {
			return badConfig("%s, %s, %s and %s are for brokers of your own; give %s, or leave them out", field("NATSLogin"), field("NATSPublisherURL"), field("NATSPublisherLogin"), field("NATSTLS"), field("NATSURL"))
		}
		return nil
	}
	// The client library would take what has no URL in it for the broker on this machine.
	for _, u := range []struct {
		field field
		urls  string
	}{{"NATSURL", c.NATSURL}, {"NATSPublisherURL", c.NATSPublisherURL}} {
		if u.urls != "" && strings.Trim(u.urls, ", ") == "" {
			return badConfig("%s is %q; give the URL of a broker, or several separated by commas", u.field, u.urls)
		}
	}
	for _, l := range []struct {
		field field
		urls  string
		login NATSLogin
	}{{"NATSLogin", c.NATSURL, c.NATSLogin}, {"NATSPublisherLogin", c.NATSPublisherURL, c.NATSPublisherLogin}} {
		if err := l.login.check(); err != nil {
			return badConfig("%s: %w", l.field, err)
		}
		if l.login.on() && strings.Contains(l.urls, "@") {
			return badConfig("%s and the URL %s both have credentials; give one", l.field, nats.Redact(l.urls))
		}
	}
	if err := c.NATSTLS.check(); err != nil {
		return badConfig("%s: %w", field("NATSTLS"), err)
	}
	return nil
}

func (l NATSLogin) check() error {
	switch {
	case l.Creds != "" && l.NKey != "":
		return fmt.Errorf("it has Creds %s and NKey %s; give one", l.Creds, l.NKey)
	case l.Creds != "":
		if err := nats.CheckCreds(l.Creds); err != nil {
			return fmt.Errorf("the credentials: %w", err)
		}
	case l.NKey != "":
		if _, err := natsgo.NkeyOptionFromSeed(l.NKey); err != nil {
			return fmt.Errorf("the NKey: %s holds no seed of a user: %w", l.NKey, err)
		}
	}
	return nil
}

func (t NATSTLS) check() error {
	if (t.Cert == "") != (t.Key == "") {
		return fmt.Errorf("it has Cert %q and Key %q; give both, or none", t.Cert, t.Key)
	}
	if t.Cert != "" {
		if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
			return fmt.Errorf("certificate %s and key %s: %w", t.Cert, t.Key, err)
		}
	}
	if t.CA != "" {
		if err := natsgo.RootCAs(t.CA)(&natsgo.Options{}); err != nil {
			return fmt.Errorf("the CA: %w", err)
		}
	}
	return nil
}

// ownPublisher reports whether the publisher has a user of its own at the brokers of NATSURL.
func (c *Config) ownPublisher() bool { return c.NATSPublisherURL != "" || c.NATSPublisherLogin.on() }

// Timing of connections to brokers that are not ours: one that is gone without a word
// is left within seconds, and the next one is tried.
const (
	externalPing      = 5 * time.Second
	externalReconnect = 200 * time.Millisecond
)

// external returns where one of the node's two connections goes, and how.
func (c *Config) external(user string) (urls string, options []natsgo.Option, err error) {
	urls, login := c.NATSURL, c.NATSLogin
	if user == userPublisher && c.ownPublisher() {
		login = c.NATSPublisherLogin
		if urls = c.NATSPublisherURL; urls == "" {
			urls = withoutCredentials(c.NATSURL) // which are the other user's
		}
	}
	options = []natsgo.Option{
		natsgo.PingInterval(externalPing),
		natsgo.ReconnectWait(externalReconnect),
		natsgo.IgnoreAuthErrorAbort(), // credentials may be mended
	}
	if login.Creds != "" {
		options = append(options, natsgo.UserCredentials(login.Creds))
	}
	if login.NKey != "" {
		key, err := natsgo.NkeyOptionFromSeed(login.NKey)
		if err != nil {
			return "", nil, fmt.Errorf("node: the NKey in %s: %w", login.NKey, err)
		}
		options = append(options, key)
	}
	if c.NATSTLS.CA != "" {
		options = append(options, natsgo.RootCAs(c.NATSTLS.CA))
	}
	if c.NATSTLS.Cert != "" {
		options = append(options, natsgo.ClientCert(c.NATSTLS.Cert, c.NATSTLS.Key))
	}
	return urls, options, nil
}

// withoutCredentials returns the same servers. It is for a list that is one: what may be
// shown of a list, which may be none, is [nats.Redact]'s to say.
func withoutCredentials(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		scheme, server, complete := strings.Cut(strings.TrimSpace(u), "://")
		if !complete {
			scheme, server = "nats", scheme // as the client library takes it
		}
		list[i] = scheme + "://" + server[strings.LastIndexByte(server, '@')+1:]
	}
	return strings.Join(list, ",")
}

// warnShared says once what it means that both connections are of one user.
func (c *Config) warnShared(log *slog.Logger) {
	if c.NATSURL != "" && !c.ownPublisher() {
		log.Warn("one user publishes events and answers requests, so who may send a request can have the node itself forge an event, by the subject for the reply; " +
			"give the publisher a user of its own with --nats-publisher-url, --nats-publisher-creds or --nats-publisher-nkey")
	}
}

// refusedLogin reports whether a broker did not believe who the node says it is.
func refusedLogin(err error) bool {
	return errors.Is(err, natsgo.ErrAuthorization) || errors.Is(err, natsgo.ErrAuthExpired) || errors.Is(err, natsgo.ErrAuthRevoked) ||
		errors.Is(err, natsgo.ErrAccountAuthExpired)
}
