package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/freeport"
)

// textFile writes a file of a test.
func textFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const (
	oneUser = `authorization { users = [ {user: app, password: secret} ] }`
	token   = "a-token-of-more-than-16-bytes"
)

// TestBadAccess: each mistake in who may connect gets one line that names it.
func TestBadAccess(t *testing.T) {
	users := textFile(t, "users.conf", oneUser)
	port := textFile(t, "port.conf", oneUser+"\nport: 4333")
	rubbish := textFile(t, "rubbish", "rubbish")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no file", []string{"--nats-config", "/no/such/file"}, exitUsage, `NATSConfig /no/such/file: `},
		{"a setting that is a flag", []string{"--nats-config", port}, exitUsage, `NATSConfig .*port.conf: it has "port"; leave it out, and give NATS \(--nats-config\)$`},
		{"users for brokers of one's own", []string{"--nats-config", users, "--nats-url", "nats://127.0.0.1:1"}, exitUsage, `leave out NATS, NATSConfig`},
		{"HTTP for everyone, with users for NATS", []string{"--nats-config", users, "--nats", "0.0.0.0:0", "--http", "0.0.0.0:0"}, exitUsage, `HTTP is "0.0.0.0:0", which others can reach, and clients need no token; give a loopback address, HTTPTokenFile, or set Insecure`},
		{"routes for everyone", []string{"--nats-config", users, "--routes", "0.0.0.0:0", "--cluster-secret", "long enough"}, exitUsage, `Routes is "0.0.0.0:0", .*not encrypted; .*tls for cluster`},
		{"credentials of nobody", []string{"--nats-creds", rubbish}, exitUsage, `give NATSURL, or leave them out`},
		{"CA of nobody", []string{"--nats-tlsca", rubbish}, exitUsage, `give NATSURL, or leave them out`},
		{"publisher of nobody", []string{"--nats-publisher-url", "nats://127.0.0.1:1"}, exitUsage, `give NATSURL, or leave them out`},
		{"no credentials in it", []string{"--nats-url", "nats://127.0.0.1:1", "--nats-creds", rubbish}, exitUsage, `NATSLogin: the credentials: .*rubbish holds no JWT and key of a user`},
		{"no credentials file", []string{"--nats-url", "nats://127.0.0.1:1", "--nats-publisher-creds", "/no/such/file"}, exitUsage, `NATSPublisherLogin: the credentials: open /no/such/file`},
		{"no seed in it", []string{"--nats-url", "nats://127.0.0.1:1", "--nats-publisher-nkey", rubbish}, exitUsage, `NATSPublisherLogin: the NKey: .*rubbish holds no seed`},
		{"two files", []string{"--nats-url", "nats://127.0.0.1:1", "--nats-creds", rubbish, "--nats-nkey", rubbish}, exitUsage, `NATSLogin: it has Creds .* and NKey .*; give one`},
		{"password and file", []string{"--nats-url", "nats://a:hidden@127.0.0.1:1", "--nats-nkey", seedFile(t)}, exitUsage, `NATSLogin and the URL nats://127.0.0.1:1 both have credentials; give one`},
		{"certificate without key", []string{"--nats-url", "nats://127.0.0.1:1", "--nats-tlscert", rubbish}, exitUsage, `NATSTLS: it has Cert .* and Key ""; give both`},
		{"CA that is none", []string{"--nats-url", "nats://127.0.0.1:1", "--nats-tlsca", rubbish}, exitUsage, `NATSTLS: the CA: .*rubbish`},
		{"no broker there", []string{"--nats-url", "nats://" + freeport.Address(t)}, exitFailed, `connect to the broker at nats://127.0.0.1:\d+: nats: no servers available for connection; is a broker running there\?`},
		{"token file", []string{"--http-token-file", "/no/such/file"}, exitUsage, `HTTPTokenFile: open /no/such/file`},
		{"token too short", []string{"--http-token-file", rubbish}, exitUsage, `HTTPTokenFile: token 1 in .*rubbish has 7 bytes; give 16 or more`},
		{"HTTP certificate that is none", []string{"--http-tls-cert", rubbish, "--http-tls-key", rubbish}, exitUsage, `HTTPTLS: certificate .*rubbish`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, nil, append([]string{"--dev", "--log-level", "error"}, c.args...)...)
			if code := p.exit(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			said := strings.TrimSuffix(p.stderr.String(), "\n")
			if strings.Contains(said, "\n") || !strings.HasPrefix(said, "node: ") || !regexp.MustCompile(c.want).MatchString(said) || strings.Contains(said, "hidden") {
				t.Errorf("said %q; want one line that begins with node: and has %q", said, c.want)
			}
		})
	}
}

func seedFile(t *testing.T) string {
	t.Helper()
	return textFile(t, "seed", "SUAKINP3Z2BPUXWOFSW2FZC7TFJCMMU7DHKP2C62IJQUDASOCDSTDTRMJQ") // of a test, and known
}

// TestUsers: a node with users on every address lets them in, and nobody else, a node
// that takes it for its broker included: that ends with exit code 1 and one line.
func TestUsers(t *testing.T) {
	n := startProcess(t, nil, "--dev", "--http", "off", "--nats", "0.0.0.0:0", "--nats-config", textFile(t, "users.conf", oneUser))
	addr := strings.Replace(strings.TrimPrefix(n.url(), "nats://"), "0.0.0.0", "127.0.0.1", 1)
	n.ready()
	reply, err := connect(t, "nats://app:secret@"+addr).Request("kv.put.k", []byte("v"), limit)
	if err != nil || reply.Header.Get("Watch-Rev") == "" {
		t.Fatalf("the user is not served: %v", err)
	}
	if conn, err := natsgo.Connect("nats://" + addr); err == nil {
		conn.Close()
		t.Error("who shows no credentials is let in")
	}
	for name, url := range map[string]string{"wrong password": "nats://app:hidden@" + addr, "none": "nats://" + addr} {
		t.Run(name, func(t *testing.T) {
			p := startProcess(t, nil, "--dev", "--http", "off", "--nats-url", url)
			if code := p.exit(); code != exitFailed {
				t.Errorf("exit code %d, want %d", code, exitFailed)
			}
			p.oneLine(`connect to the broker at nats://` + addr + `: it refuses the credentials of the node's connection as publisher`)
			if strings.Contains(p.stderr.String(), "hidden") {
				t.Error("the password is shown")
			}
		})
	}
}

// TestAskWithToken: the commands take token and certificate from the node's own
// environment, or by flags, and say which of them is missing.
func TestAskWithToken(t *testing.T) {
	pem := certificates(t) // WATCHCAST_RAFT_CERT=…, …_KEY, …_CA
	path := func(i int) string { _, p, _ := strings.Cut(pem[i], "="); return p }
	tokens := textFile(t, "tokens", token+"\n")
	own := []string{"WATCHCAST_HTTP_TOKEN_FILE=" + tokens, "WATCHCAST_HTTP_TLS_CERT=" + path(0), "WATCHCAST_HTTP_TLS_KEY=" + path(1)}
	n := startProcess(t, own, nodeArgs(t.TempDir())...)
	addr := n.wait(`HTTP\s+https://(\S+)`)[1]
	n.ready()
	env := append(own, "WATCHCAST_HTTP="+addr)
	file := filepath.Join(t.TempDir(), "state")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"health"}, `^ready\n$`},
		{[]string{"members"}, `node-1 .*leader`},
		{[]string{"backup", file}, `revision \d+ of cluster`},
		{[]string{"restore", file}, `restored 0 keys`},
	} {
		if out, _ := command(t, env, exitOK, c.args...); !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("node %v printed %q", c.args, out)
		}
	}
	command(t, nil, exitOK, "members", "--http", addr, "--http-ca", path(2), "--http-token-file", tokens)
	command(t, nil, exitOK, "health", "--http", addr, "--http-ca", path(2)) // which needs no token

	other := certificates(t)
	_, strange, _ := strings.Cut(other[0], "=")
	plain := startProcess(t, []string{"WATCHCAST_HTTP_TOKEN_FILE=" + tokens}, nodeArgs(t.TempDir())...)
	for _, c := range []struct {
		name, addr string
		args       []string
		want       string
	}{
		{"no token", addr, []string{"--http-tls-cert", path(0)}, `wants a token, or another one; give its --http-token-file`},
		{"wrong token", addr, []string{"--http-tls-cert", path(0), "--http-token-file", textFile(t, "other", token+"x")}, `wants a token, or another one`},
		{"no TLS", addr, []string{"--http-token-file", tokens}, `wants TLS; give its --http-tls-cert, or the --http-ca`},
		{"another certificate", addr, []string{"--http-token-file", tokens, "--http-tls-cert", strange}, `shows another certificate than that of --http-tls-cert`},
		{"another CA", addr, []string{"--http-token-file", tokens, "--http-ca", strange}, `is not trusted: .*unknown authority.*see --http-ca`},
		{"certificate that is none", addr, []string{"--http-tls-cert", tokens}, `--http-tls-cert: .*tokens holds no certificate`},
		{"CA that is none", addr, []string{"--http-ca", tokens}, `--http-ca: .*tokens holds no certificate`},
		{"no token file", addr, []string{"--http-tls-cert", path(0), "--http-token-file", "/no/such/file"}, `--http-token-file: open /no/such/file`},
		{"TLS with who has none", plain.httpAddr(), []string{"--http-tls-cert", path(0), "--http-token-file", tokens}, `does not speak TLS; leave out --http-ca and --http-tls-cert`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"members", "backup"} {
				args := append([]string{name, "--http", c.addr}, c.args...)
				if name == "backup" {
					args = append(args, filepath.Join(t.TempDir(), "state"))
				}
				_, said := command(t, nil, exitFailed, args...)
				if strings.Count(said, "\n") != 1 || !regexp.MustCompile(c.want).MatchString(said) || strings.Contains(said, token) {
					t.Errorf("node %v said %q; want one line with %q", args, said, c.want)
				}
			}
		})
	}
}
