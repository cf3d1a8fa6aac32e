package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/watchcast/watchcast/internal/freeport"
)

// natsConfigFile writes a configuration file for the broker.
func natsConfigFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clients.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const oneUser = `authorization { users = [ {user: app, password: secret} ] }` + "\n"

// TestNATSConfigRefused: whatever would be ignored, or weaken the rules, is refused
// by name, and nothing is started.
func TestNATSConfigRefused(t *testing.T) {
	t.Parallel()
	const nkey = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
	for _, c := range []struct {
		name, text string
		mentions   []string
	}{
		{"no configuration", `authorization {`, []string{"clients.conf"}},
		{"unknown setting", oneUser + `tsl {}`, []string{`"tsl"`, "only authorization, tls and the tls of cluster"}},
		{"port", oneUser + `port: 4333`, []string{`"port"`, "give NATS"}},
		{"listen", `listen: "0.0.0.0:4333"`, []string{`"listen"`, "give NATS"}},
		{"name", `server_name: b1`, []string{`"server_name"`, "give ID"}},
		{"payload", oneUser + `max_payload: 8MB`, []string{`"max_payload"`, "give MaxPayload"}},
		{"cluster", oneUser + `cluster { name: c, listen: "127.0.0.1:6222" }`, []string{`"cluster"`, "Routes, JoinRoutes and ClusterSecret"}},
		{"anonymous user", oneUser + `no_auth_user: app`, []string{`"no_auth_user"`, "no users"}},
		{"jetstream", oneUser + `jetstream {}`, []string{`"jetstream"`, "NATSURL"}},
		{"accounts", `accounts { A { users: [ {user: a, password: b} ] } }`, []string{`"accounts"`, "NATSURL"}},
		{"leafnodes", oneUser + `leafnodes { port: 7422 }`, []string{`"leafnodes"`}},
		{"monitoring", oneUser + `http: 8222`, []string{`"http"`}},
		{"mappings", oneUser + `mappings { "free.>": "watch.>" }`, []string{`"mappings"`}},
		{"capitals", `Authorization { users = [ {user: app, password: secret} ] }`, []string{`"Authorization"`, "write authorization"}},
		{"no users", `authorization { timeout: 2 }`, []string{"no users"}},
		{"nobody", `authorization { users: [] }`, []string{"no users"}},
		{"token", `authorization { token: secret }`, []string{"token", "users"}},
		{"one user", `authorization { user: app, password: secret, permissions: {publish: "a"} }`, []string{"outside of users"}},
		{"no password", `authorization { users = [ {user: app} ] }`, []string{`"app"`, "no password"}},
		{"empty password", `authorization { users = [ {user: app, password: ""} ] }`, []string{`"app"`, "no password"}},
		{"answers", `authorization { users = [ {user: app, password: secret, permissions: {allow_responses: true}} ] }`, []string{`"app"`, "allow_responses", "inboxes"}},
		{"answers by default", `authorization { default_permissions: {allow_responses: {max: 1}}, users = [ {nkey: ` + nkey + `} ] }`, []string{nkey, "allow_responses"}},
		{"proxy", `authorization { proxy_required: true, users = [ {user: app, password: secret} ] }`, []string{"proxy_required"}},
		{"proxied user", `authorization { users = [ {user: app, password: secret, proxy_required: true} ] }`, []string{`"app"`, "proxy_required"}},
		{"a user twice", `authorization { users = [ {user: app, password: a}, {user: app, password: b} ] }`, []string{`"app"`, "uplicate"}},
		{"misspelt permissions", `authorization { users = [ {user: app, password: secret, permissons: {}} ] }`, []string{`"permissons"`}},
		{"bad subject", `authorization { users = [ {user: app, password: secret, permissions: {publish: "a..b"}} ] }`, []string{`"a..b"`}},
		{"no certificate", oneUser + `tls { cert_file: "absent.pem", key_file: "absent.key" }`, []string{"absent.pem"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := single(t)
			config.NATSConfig = natsConfigFile(t, c.text)
			n, err := Start(bounded(t), config)
			if err == nil {
				stop(t, n)
			}
			wantOneLine(t, err, ErrConfig, append(c.mentions, "NATSConfig", config.NATSConfig)...)
		})
	}
	t.Run("no file", func(t *testing.T) {
		config := single(t)
		config.NATSConfig = filepath.Join(t.TempDir(), "absent.conf")
		_, err := Start(bounded(t), config)
		wantOneLine(t, err, ErrConfig, "NATSConfig", config.NATSConfig)
	})
	t.Run("no file but a directory", func(t *testing.T) {
		config := single(t)
		config.NATSConfig = t.TempDir()
		_, err := Start(bounded(t), config)
		wantOneLine(t, err, ErrConfig, "NATSConfig", config.NATSConfig)
	})
	t.Run("beside brokers of one's own", func(t *testing.T) {
		config := single(t)
		config.NATS, config.NATSURL, config.NATSConfig = "", "nats://"+freeport.Address(t), natsConfigFile(t, oneUser)
		_, err := Start(bounded(t), config)
		wantOneLine(t, err, ErrConfig, "NATSURL", "leave out", "NATSConfig")
	})
	t.Run("certificates for routes that are not", func(t *testing.T) {
		files := newAuthority(t).issue()
		config := single(t)
		config.NATSConfig = natsConfigFile(t, "cluster { "+tlsBlock(files, true)+" }")
		_, err := Start(bounded(t), config)
		wantOneLine(t, err, ErrConfig, "NATSConfig", "cluster", "Routes")
	})
}

// tlsBlock is the tls of a configuration file, with a CA for the other side if mutual.
func tlsBlock(files RaftTLS, mutual bool) string {
	block := `tls { cert_file: "` + files.Cert + `", key_file: "` + files.Key + `"`
	if mutual {
		block += `, ca_file: "` + files.CA + `", verify: true`
	}
	return block + " }"
}

// TestNATSConfigTaken: variables and included files are nats-server's, and mean the
// same here.
func TestNATSConfigTaken(t *testing.T) {
	t.Parallel()
	file := natsConfigFile(t, "SECRET: \"of-a-variable\"\nauthorization {\n include \"users.conf\"\n default_permissions: {subscribe: $SECRET}\n}")
	users := `APP_PASSWORD: "of an included file", users = [ {user: app, password: $APP_PASSWORD} ]`
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "users.conf"), []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readNATSConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if u := c.options.Users; len(u) != 1 || u[0].Username != "app" || u[0].Password != "of an included file" || u[0].Permissions.Subscribe.Allow[0] != "of-a-variable" {
		t.Fatalf("the users are %+v", u)
	}
}
