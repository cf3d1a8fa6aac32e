package node

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/nats"
)

// everyKind has a user of each kind, all of whom the file allows everything.
func everyKind(t *testing.T) (file string, users map[string]natsgo.Option) {
	t.Helper()
	keys := make([]nkeys.KeyPair, 2)
	public := make([]string, 2)
	for i := range keys {
		var err error
		if keys[i], err = nkeys.CreateUser(); err != nil {
			t.Fatal(err)
		}
		if public[i], err = keys[i].PublicKey(); err != nil {
			t.Fatal(err)
		}
	}
	all := `{publish: {allow: [">", "watch.>", "_watch.>", "_watch.ack"]}, subscribe: {allow: [">", "kv.>", "kv.> q", "kv.put.*"]}}`
	file = natsConfigFile(t, fmt.Sprintf(`authorization {
		users = [
			{user: plain, password: secret}
			{user: all, password: secret, permissions: %s}
			{nkey: %s}
			{nkey: %s, permissions: %s}
		]
	}`, all, public[0], public[1], all))
	return file, map[string]natsgo.Option{
		"without permissions":         natsgo.UserInfo("plain", "secret"),
		"with all":                    natsgo.UserInfo("all", "secret"),
		"by key, without permissions": natsgo.Nkey(public[0], keys[0].Sign),
		"by key, with all":            natsgo.Nkey(public[1], keys[1].Sign),
	}
}

// TestUsersAreClients: an operator's user has the rules of every client, whatever
// the configuration allows it, and who shows no credentials is not let in.
func TestUsersAreClients(t *testing.T) {
	t.Parallel()
	file, users := everyKind(t)
	config := single(t)
	config.NATS, config.NATSConfig = "0.0.0.0:0", file // and no Insecure
	n := lead(t, config)
	for name, option := range users {
		t.Run(name, func(t *testing.T) { wantClientRules(t, n, local(t, n), option) })
	}
	for name, options := range map[string][]natsgo.Option{
		"no credentials": nil,
		"wrong password": {natsgo.UserInfo("all", "wrong")},
		"no password":    {natsgo.UserInfo("all", "")},
		"unknown user":   {natsgo.UserInfo("nobody", "secret")},
		"node's user":    {natsgo.UserInfo(userPublisher, "")},
	} {
		conn, err := natsgo.Connect(local(t, n), options...)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, natsgo.ErrAuthorization) {
			t.Errorf("%s: %v; want to be refused", name, err)
		}
	}
}

// local is where this machine reaches a node that listens on every address.
func local(t *testing.T, n *Node) string {
	t.Helper()
	u, err := url.Parse(n.NATSURL())
	if err != nil {
		t.Fatal(err)
	}
	return u.Scheme + "://" + net.JoinHostPort("127.0.0.1", u.Port())
}

// TestSampleUsers runs the configuration in docs/operations.md: a user of one prefix
// has that and no more, and TLS is needed.
func TestSampleUsers(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	files := authority.issue()
	watcher, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := watcher.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	config := single(t)
	config.NATS = "0.0.0.0:0"
	config.NATSConfig = sample(t, "clients.conf",
		"/etc/watchcast/nats.pem", files.Cert, "/etc/watchcast/nats.key", files.Key,
		"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", public)
	n := lead(t, config)
	url := local(t, n)
	if !strings.HasPrefix(n.NATSURL(), "tls://") {
		t.Errorf("clients are told to use %s", n.NATSURL())
	}
	ca := natsgo.RootCAs(files.CA)

	if conn, err := natsgo.Connect(strings.Replace(url, "tls://", "nats://", 1), natsgo.UserInfo("app", "change-this-2")); err == nil {
		conn.Close()
		t.Error("a client is in without having verified the broker")
	}

	option, refused := refusals()
	app := connect(t, url, ca, option, natsgo.UserInfo("app", "change-this-2"), natsgo.CustomInboxPrefix("_INBOX_app"))
	wantOnlyApp(t, n, app, refused)

	option, refused = refusals()
	sees := connect(t, url, ca, option, natsgo.Nkey(public, watcher.Sign))
	events, err := sees.SubscribeSync("watch.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := sees.Publish("kv.put.app.x", nil); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, refused, "publish", "kv.put.app.x")
	put(t, n, "other.k", "v")
	if m, err := events.NextMsgWithContext(bounded(t)); err != nil || m.Subject != "watch.other.k" {
		t.Errorf("who sees everything received %v, %v", m, err)
	}
}

// wantOnlyApp holds that a connection of the documents' user app has its prefix,
// and no other.
func wantOnlyApp(t *testing.T, n *Node, app *natsgo.Conn, refused <-chan error) {
	t.Helper()
	events, err := app.SubscribeSync("watch.app.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := app.FlushWithContext(bounded(t)); err != nil {
		t.Fatal(err)
	}
	revision, err := revisionOf(request(t, app, "kv.put.app.color", []byte("blue")))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := events.NextMsgWithContext(bounded(t)); err != nil || m.Subject != "watch.app.color" {
		t.Fatalf("its event is %v, %v", m, err)
	}
	for _, subject := range []string{"kv.get.app.color", "kv.stale.get.app.color"} {
		if reply := request(t, app, subject, nil); string(reply.Data) != "blue" {
			t.Errorf("%s: %v %q", subject, reply.Header, reply.Data)
		}
	}
	for _, subject := range []string{"kv.get.other.k", "kv.put.other.k", "kv.get.app", "kv.stale.get.other.k", "kv.batch", "kv.list", "kv.since", "kv.list.other", "watch.app.color", "_watch.beacon", "_INBOX_app.x"} {
		if err := app.PublishRequest(subject, "_INBOX_app.x", []byte("of app")); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "publish", subject)
	}
	for _, subject := range []string{"watch.>", "watch.other.k", "watch.*.color", ">", "kv.put.app.>", "_INBOX.>", "_INBOX_other.>"} {
		if _, err := app.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "subscription", subject)
	}
	wantValue(t, n, "app.color", "blue", revision)

	// The subject of a list allows for a prefix, whatever the payload asks for.
	reply := request(t, app, "kv.list.app", []byte(">"))
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "400" {
		t.Errorf("a list of everything in the scope of a prefix is answered with %q: %q", code, reply.Data)
	}
	c, err := nats.NewClient(nats.ClientOptions{Conn: app})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, pattern := range []string{"app.>", "app.color"} { // the client asks for no more than the pattern
		m := mirrorOf(t, c, pattern, nats.WatchOptions{})
		m.equals("of "+pattern, map[string]string{"app.color": "blue"})
		eventually(t, "the watch of "+pattern+" is in order", func() bool { return m.told(nats.Synced) == 1 && m.told(nats.Stale) == 0 })
	}
}

// TestNewCertificate: a certificate of the broker is replaced while it runs, and one
// that is bad is not used.
func TestNewCertificate(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	numbered := func(number int64) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.SerialNumber = big.NewInt(number) }
	}
	files := authority.issue(numbered(1))
	log := &logged{}
	config := single(t)
	config.NATSConfig = natsConfigFile(t, oneUser+tlsBlock(files, false))
	config.Logger = slog.New(slog.NewTextHandler(log, nil))
	n := lead(t, config)
	shown := func() int64 {
		conn := connect(t, n.NATSURL(), natsgo.RootCAs(files.CA), natsgo.UserInfo("app", "secret"))
		defer conn.Close()
		state, err := conn.TLSConnectionState()
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	if number := shown(); number != 1 {
		t.Fatalf("the certificate is number %d", number)
	}
	authority.into(files, numbered(2)) // not at once: until all files are there, the old one stays
	eventually(t, "the new certificate is shown", func() bool { return shown() == 2 })
	newAuthority(t).into(RaftTLS{Cert: files.Cert + ".other", Key: files.Key, CA: files.CA + ".other"}) // a key that does not fit
	eventually(t, "the bad key is told", func() bool {
		if number := shown(); number != 2 {
			t.Fatalf("the certificate is number %d", number)
		}
		return len(log.lines("cannot use the new TLS files for NATS")) > 0
	})
}

// TestClientCertificates: where the file says so, a client shows a certificate.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	files := authority.issue()
	config := single(t)
	config.NATSConfig = natsConfigFile(t, oneUser+tlsBlock(files, true))
	n := lead(t, config)
	user, ca := natsgo.UserInfo("app", "secret"), natsgo.RootCAs(files.CA)
	good, strange := authority.issue(), newAuthority(t).issue()
	conn := connect(t, n.NATSURL(), user, ca, natsgo.ClientCert(good.Cert, good.Key))
	if _, err := revisionOf(request(t, conn, "kv.put.k", nil)); err != nil {
		t.Error(err)
	}
	for name, options := range map[string][]natsgo.Option{
		"no certificate":            {user, ca},
		"a stranger's certificate":  {user, ca, natsgo.ClientCert(strange.Cert, strange.Key)},
		"certificate, but no user":  {ca, natsgo.ClientCert(good.Cert, good.Key)},
		"another CA for the broker": {user, natsgo.RootCAs(strange.CA), natsgo.ClientCert(good.Cert, good.Key)},
	} {
		if conn, err := natsgo.Connect(n.NATSURL(), options...); err == nil {
			conn.Close()
			t.Errorf("%s is let in", name)
		}
	}
}

// TestSecureRoutes: with certificates for the routes, the brokers of two nodes on
// addresses that others can reach pass events on, and a broker without is no part
// of it.
func TestSecureRoutes(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	var nodes []*Node
	first := freeport.Address(t)
	for i, files := range []RaftTLS{authority.issue(), authority.issue(), newAuthority(t).issue()} {
		config := single(t)
		config.ID = fmt.Sprintf("n%d", i+1)
		config.Routes, config.ClusterSecret = freeport.Address(t), "long enough"
		if i == 0 {
			config.Routes = first
		} else {
			config.JoinRoutes = []string{first}
		}
		config.NATSConfig = natsConfigFile(t, "cluster { "+tlsBlock(files, true)+" }")
		nodes = append(nodes, lead(t, config))
	}
	near, strange := spy(t, nodes[1], "word", ""), spy(t, nodes[2], "word", "")
	conn := connect(t, nodes[0].NATSURL())
	eventually(t, "the second broker has it", func() bool {
		if err := conn.Publish("word", nil); err != nil {
			t.Fatal(err)
		}
		return len(near) > 0
	})
	eventually(t, "the route is refused", func() bool { return nodes[2].broker.server.NumRoutes() == 0 })
	if len(strange) > 0 {
		t.Error("a broker with a certificate of another CA has it, too")
	}
}
