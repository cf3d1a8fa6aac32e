package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats-server/v2/server"
)

// natsConfig is what the embedded broker takes of a configuration file of
// nats-server: who may connect, and the certificates. nats-server itself reads it,
// so it means here what it means there. All that we would not obey is refused.
type natsConfig struct {
	file    string
	options *server.Options // only what is taken
}

const maxNATSConfig = 4 << 20 // of the file, in bytes

// elsewhere says where something is set that the file may not hold.
var elsewhere = map[string]string{
	"listen":       "NATS",
	"host":         "NATS",
	"net":          "NATS",
	"port":         "NATS",
	"server_name":  "ID",
	"max_payload":  "MaxPayload",
	"no_auth_user": "no users, for clients without credentials",
	"cluster":      "Routes, JoinRoutes and ClusterSecret; only tls is taken from cluster",
}

// readNATSConfig reads the file. The error wraps [ErrConfig], and is one line that
// names what is wrong.
func readNATSConfig(file string) (*natsConfig, error) {
	c, err := parseNATSConfig(file)
	if err != nil {
		lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' })
		return nil, badConfig("%s %s: %s", field("NATSConfig"), file, strings.Join(lines, "; "))
	}
	return c, nil
}

func parseNATSConfig(file string) (*natsConfig, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxNATSConfig || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is no file of up to %d bytes", maxNATSConfig)
	}
	tree, err := conf.ParseFileWithChecks(file)
	if err != nil {
		return nil, err
	}
	if err := onlyTaken(tree); err != nil {
		return nil, err
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		return nil, err
	}
	if err := usable(o, tree["authorization"] != nil); err != nil {
		return nil, err
	}
	return &natsConfig{file: file, options: o}, nil
}

// onlyTaken refuses settings that would be ignored, or that have a place already.
func onlyTaken(tree map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		value, variable := unwrap(tree[key])
		switch name := strings.ToLower(key); {
		case name == "authorization" || name == "tls":
			if key != name {
				return fmt.Errorf("it has %q; write %s", key, name)
			}
		case name == "cluster" && onlyTLS(value):
		case elsewhere[name] != "":
			return fmt.Errorf("it has %q; leave it out, and give %s", key, elsewhere[name])
		case !variable:
			return fmt.Errorf("it has %q; leave it out: only authorization, tls and the tls of cluster are taken. A broker with more is one of your own, for NATSURL", key)
		}
	}
	return nil
}

// unwrap returns what the parser holds, and whether it is a variable that the file
// uses elsewhere.
func unwrap(v any) (value any, variable bool) {
	t, ok := v.(interface {
		Value() any
		IsUsedVariable() bool
	})
	if !ok {
		return v, false
	}
	return t.Value(), t.IsUsedVariable()
}

func onlyTLS(cluster any) bool {
	settings, ok := cluster.(map[string]any)
	for key := range settings {
		ok = ok && strings.EqualFold(key, "tls")
	}
	return ok
}

// usable refuses what nats-server takes and would be weaker, or different, beside
// the node's own users.
func usable(o *server.Options, authorization bool) error {
	switch {
	case o.Authorization != "" || o.Username != "" || o.Password != "":
		return errors.New("authorization has a token, or a user and password outside of users; such a client would have no permissions. List it in users")
	case o.AuthCallout != nil:
		return errors.New("authorization has auth_callout; leave it out, and list the users")
	case o.ProxyRequired:
		return errors.New("authorization has proxy_required; leave it out")
	case authorization && len(o.Users)+len(o.Nkeys) == 0:
		return errors.New("authorization has no users; list them, or leave it out for clients without credentials")
	case o.TLSHandshakeFirst:
		return errors.New("tls has handshake_first, which the node's own connections cannot do; leave it out")
	}
	for _, u := range o.Users {
		// With verify_and_map the certificate is the credential.
		if u.Password == "" && !o.TLSMap {
			return fmt.Errorf("the user %q has no password; give one", u.Username)
		}
		if err := usableUser(u.Username, u.Permissions, u.ProxyRequired); err != nil {
			return err
		}
	}
	for _, u := range o.Nkeys {
		if err := usableUser(u.Nkey, u.Permissions, u.ProxyRequired); err != nil {
			return err
		}
	}
	return nil
}

func usableUser(name string, p *server.Permissions, proxied bool) error {
	switch {
	case proxied:
		return fmt.Errorf("the user %q has proxy_required; leave it out", name)
	case p != nil && p.Response != nil:
		// A permission to answer overrules what is denied: the user could ask himself
		// for an answer to the subject of an event.
		return fmt.Errorf("the user %q has allow_responses, which would let it publish events as answers; leave it out, and allow it to publish to the inboxes that it answers", name)
	}
	return nil
}

// hasUsers reports whether clients need credentials.
func (c *natsConfig) hasUsers() bool {
	return c != nil && len(c.options.Users)+len(c.options.Nkeys) > 0
}

// securesRoutes reports whether the traffic between brokers is encrypted, and both
// ends show a certificate.
func (c *natsConfig) securesRoutes() bool { return c != nil && c.options.Cluster.TLSConfig != nil }

// serverOptions returns what is taken, for the broker to be completed with the rest.
// The certificates for clients are read again while the broker runs.
func (c *natsConfig) serverOptions(log *slog.Logger) *server.Options {
	if c == nil {
		return &server.Options{}
	}
	if c.options.TLSConfig != nil {
		files := newFresh("TLS files for NATS", c.options.TLSConfig.Clone(), c.readTLS, log)
		c.options.TLSConfig.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return files.get(), nil }
	}
	return c.options
}

func (c *natsConfig) readTLS() (*tls.Config, error) {
	now, err := readNATSConfig(c.file)
	if err == nil && now.options.TLSConfig == nil {
		err = fmt.Errorf("%s has no tls any more", c.file)
	}
	if err != nil {
		return nil, err
	}
	return now.options.TLSConfig, nil
}
