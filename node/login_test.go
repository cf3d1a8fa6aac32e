package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/watchcast/watchcast/internal/freeport"
)

// newNKey makes a key of NATS and its public half.
func newNKey(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestKeysAndCertificate: both connections prove themselves by an NKey, and show a
// certificate to a broker that wants one.
func TestKeysAndCertificate(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	broker, own := authority.issue(), authority.issue()
	var seeds, public []string
	for range 2 {
		key, name := newNKey(t, nkeys.CreateUser)
		seed, err := key.Seed()
		if err != nil {
			t.Fatal(err)
		}
		seeds, public = append(seeds, write(t, "seed", seed)), append(public, name)
	}
	addr := freeport.Address(t)
	natsServers(t)(natsConfigFile(t, fmt.Sprintf(`listen: %q, %s, authorization { users: [
		{nkey: %s, permissions: {publish: {deny: ["watch.>", "_watch.>", "kv.>"]}, subscribe: ["kv.>", "_watch.>", "$SRV.>"]}}
		{nkey: %s, permissions: {publish: ["watch.>", "_watch.>"], subscribe: {deny: ">"}}}
		{user: client, password: secret} ] }`, addr, tlsBlock(broker, true), public[0], public[1])), addr)

	config := single(t)
	config.NATS, config.NATSURL = "", "tls://"+addr
	config.NATSLogin.NKey, config.NATSPublisherLogin.NKey = seeds[0], seeds[1]
	config.NATSTLS = NATSTLS{Cert: own.Cert, Key: own.Key, CA: broker.CA}
	n := lead(t, config)
	wantServed(t, n, connect(t, "tls://client:secret@"+addr, natsgo.RootCAs(broker.CA), natsgo.ClientCert(own.Cert, own.Key)))

	config.DataDir, config.NATSTLS.Cert, config.NATSTLS.Key = t.TempDir(), "", ""
	if n, err := Start(bounded(t), config); err == nil {
		stop(t, n)
		t.Error("the node starts without the certificate that the broker wants")
	} else if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "connect to the broker at tls://"+addr) {
		t.Errorf("without a certificate: %v", err)
	}
}

// wantServed writes over conn and hears of it.
func wantServed(t *testing.T, n *Node, conn *natsgo.Conn) {
	t.Helper()
	events := subscribe(t, conn, ">")
	revision, err := revisionOf(request(t, conn, "kv.put.k", []byte("v")))
	if err != nil {
		t.Fatal(err)
	}
	events.seen(revision)
	wantValue(t, n, "k", "v", revision)
}

// TestCredentials: both connections prove themselves by files with a JWT and its key,
// at a broker that knows only the operator's; and a user that was not signed by the
// operator's account is refused.
func TestCredentials(t *testing.T) {
	t.Parallel()
	operator, operatorName := newNKey(t, nkeys.CreateOperator)
	account, accountName := newNKey(t, nkeys.CreateAccount)
	operatorJWT, err := jwt.NewOperatorClaims(operatorName).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	accountJWT, err := jwt.NewAccountClaims(accountName).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	credentials := func(signer nkeys.KeyPair, set func(*jwt.UserClaims)) string {
		key, name := newNKey(t, nkeys.CreateUser)
		claims := jwt.NewUserClaims(name)
		set(claims)
		token, err := claims.Encode(signer)
		if err != nil {
			t.Fatal(err)
		}
		seed, err := key.Seed()
		if err != nil {
			t.Fatal(err)
		}
		file, err := jwt.FormatUserConfig(token, seed)
		if err != nil {
			t.Fatal(err)
		}
		return write(t, "user.creds", file)
	}
	service := func(c *jwt.UserClaims) {
		c.Pub.Deny.Add("watch.>", "_watch.>", "kv.>")
		c.Sub.Allow.Add("kv.>", "_watch.>", "$SRV.>")
	}
	publisher := func(c *jwt.UserClaims) {
		c.Pub.Allow.Add("watch.>", "_watch.>")
		c.Sub.Deny.Add(">")
	}
	client := func(c *jwt.UserClaims) {
		c.Pub.Deny.Add("watch.>", "_watch.>")
		c.Sub.Deny.Add("kv.>")
	}
	addr := freeport.Address(t)
	natsServers(t)(natsConfigFile(t, fmt.Sprintf("listen: %q\noperator: %s\nresolver: MEMORY\nresolver_preload { %s: %s }", addr, operatorJWT, accountName, accountJWT)), addr)

	config := single(t)
	config.NATS, config.NATSURL = "", "nats://"+addr
	config.NATSLogin.Creds, config.NATSPublisherLogin.Creds = credentials(account, service), credentials(account, publisher)
	n := lead(t, config)
	as := natsgo.UserCredentials(credentials(account, client))
	wantServed(t, n, connect(t, "nats://"+addr, as))
	wantClientRules(t, n, "nats://"+addr, as)

	stranger, _ := newNKey(t, nkeys.CreateAccount)
	config.DataDir, config.NATSLogin.Creds = t.TempDir(), credentials(stranger, service)
	if n, err := Start(bounded(t), config); err == nil {
		stop(t, n)
		t.Error("a user that nobody vouches for is let in")
	} else if !strings.Contains(err.Error(), "refuses the credentials of the node's connection as service") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a user that nobody vouches for: %v", err)
	}
}

// TestOwnPublisher: each connection shows its own credentials and none of the other's.
func TestOwnPublisher(t *testing.T) {
	key, _ := newNKey(t, nkeys.CreateUser)
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, "seed", seed)
	for _, c := range []struct {
		name               string
		config             Config
		service, publisher string
	}{
		{"one user", Config{NATSURL: "nats://a:x@one,nats://a:x@two"}, "nats://a:x@one,nats://a:x@two", "nats://a:x@one,nats://a:x@two"},
		{"a URL of its own", Config{NATSURL: "nats://a:x@one", NATSPublisherURL: "nats://b:y@one"}, "nats://a:x@one", "nats://b:y@one"},
		{"a file of its own", Config{NATSURL: "tls://a:x@one,tls://a:x@two", NATSPublisherLogin: NATSLogin{NKey: file}}, "tls://a:x@one,tls://a:x@two", "tls://one,tls://two"},
		{"a file, and servers without schemes", Config{NATSURL: "nats://one,a:x@two", NATSPublisherLogin: NATSLogin{NKey: file}}, "nats://one,a:x@two", "nats://one,nats://two"},
		{"a URL beside a file", Config{NATSURL: "nats://one", NATSLogin: NATSLogin{NKey: file}, NATSPublisherURL: "nats://b:y@one"}, "nats://one", "nats://b:y@one"},
	} {
		for user, want := range map[string]string{userService: c.service, userPublisher: c.publisher} {
			urls, options, err := c.config.external(user)
			var o natsgo.Options
			for _, option := range options {
				err = errors.Join(err, option(&o))
			}
			if err != nil || urls != want || strings.Contains(urls, "@") && o.Nkey != "" {
				t.Errorf("%s: %s connects to %q, with a file: %t, %v; want %q", c.name, user, urls, o.Nkey != "", err, want)
			}
		}
	}
}
