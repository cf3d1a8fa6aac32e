package node

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

const (
	tokenOne = "the-first-token-of-two"
	tokenTwo = "the-second-token-of-two"
)

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// showing asks with an Authorization header, none if it is empty, and returns the status.
func showing(t *testing.T, method, url, authorization string) (int, *http.Response) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode, resp
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// TestToken: beyond the loopback interface, whoever shows no token that the node
// knows gets 401 wherever he asks, but for the checks of health; and changes nothing.
func TestToken(t *testing.T) {
	t.Parallel()
	config := serving(t)
	config.HTTP = "0.0.0.0:0" // and no Insecure
	config.HTTPTokenFile = tokenFile(t, tokenOne+"\n"+tokenTwo+"\n")
	n := lead(t, config)
	url := strings.Replace(n.HTTPURL(), "[::]", "127.0.0.1", 1)
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _ := showing(t, "GET", url+path, ""); status != 200 {
			t.Errorf("%s without a token: %d; want 200", path, status)
		}
	}
	for _, asked := range []string{"GET /", "GET /v1/status", "GET /v1/members", "POST /v1/members", "DELETE /v1/members/node-1", "POST /v1/members/node-1/demote",
		"GET /v1/backup", "PUT /v1/backup", "GET /metrics", "GET /unknown", "GET /healthz/", "GET //healthz", "GET /readyz/../v1/backup", "PUT /v1/status"} {
		method, path, _ := strings.Cut(asked, " ")
		for _, shown := range []string{"", "Bearer", "Bearer ", "Bearer " + tokenOne + "x", "Bearer " + tokenOne[1:], "Bearer " + tokenOne + " " + tokenTwo,
			"Token " + tokenOne, tokenOne, basic(tokenOne, ""), basic("", "wrong"), "Basic " + tokenOne} {
			status, resp := showing(t, method, url+path, shown)
			if status != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s showing %q: %d; want 401", asked, shown, status)
			}
		}
	}
	for _, shown := range []string{"Bearer " + tokenOne, "bearer " + tokenTwo, "Bearer  " + tokenTwo, basic("", tokenOne), basic("anyone", tokenTwo)} {
		for _, path := range []string{"/", "/v1/status", "/v1/members", "/v1/backup", "/metrics"} {
			if status, _ := showing(t, "GET", url+path, shown); status != 200 {
				t.Errorf("%s showing %q: %d; want 200", path, shown, status)
			}
		}
	}
}

// TestNewToken: tokens are replaced while the node runs, and a file that is bad is
// not used.
func TestNewToken(t *testing.T) {
	t.Parallel()
	log := &logged{}
	config := serving(t)
	config.HTTPTokenFile = tokenFile(t, tokenOne)
	config.Logger = slog.New(slog.NewTextHandler(log, nil))
	n := lead(t, config)
	with := func(token string) int {
		status, _ := showing(t, "GET", n.HTTPURL()+"/v1/status", "Bearer "+token)
		return status
	}
	if err := os.WriteFile(config.HTTPTokenFile, []byte(tokenTwo), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new token is taken", func() bool { return with(tokenTwo) == 200 })
	if status := with(tokenOne); status != 401 {
		t.Errorf("the old token gets %d", status)
	}
	if err := os.Remove(config.HTTPTokenFile); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing file is told", func() bool {
		if status := with(tokenTwo); status != 200 {
			t.Fatalf("without a file, the token that was read gets %d", status)
		}
		return len(log.lines("cannot use the new tokens for HTTP")) > 0
	})
}

// TestBadHTTP: what cannot work over HTTP is refused at the start.
func TestBadHTTP(t *testing.T) {
	t.Parallel()
	files := newAuthority(t).issue()
	other := newAuthority(t).issue()
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		name     string
		set      func(*Config)
		mentions []string
	}{
		{"no file", func(c *Config) { c.HTTPTokenFile = absent }, []string{"HTTPTokenFile", absent}},
		{"no token", func(c *Config) { c.HTTPTokenFile = tokenFile(t, " \n") }, []string{"HTTPTokenFile", "0 tokens", "1 to 16"}},
		{"short token", func(c *Config) { c.HTTPTokenFile = tokenFile(t, tokenOne+"\nfifteen-bytes-1\n") }, []string{"HTTPTokenFile", "token 2", "15 bytes", "16 or more"}},
		{"too many tokens", func(c *Config) { c.HTTPTokenFile = tokenFile(t, strings.Repeat(tokenOne+"\n", 17)) }, []string{"17 tokens"}},
		{"endless token", func(c *Config) { c.HTTPTokenFile = tokenFile(t, strings.Repeat("x", 5000)) }, []string{"4096 bytes"}},
		{"certificate without key", func(c *Config) { c.HTTPTLS.Cert = files.Cert }, []string{"HTTPTLS", files.Cert, "both"}},
		{"key of another", func(c *Config) { c.HTTPTLS = HTTPTLS{files.Cert, other.Key} }, []string{"HTTPTLS", files.Cert, other.Key}},
		{"TLS of nothing", func(c *Config) { c.HTTP, c.HTTPTLS = Off, HTTPTLS{files.Cert, files.Key} }, []string{"HTTPTLS", "off"}},
		{"beyond loopback by TLS only", func(c *Config) { c.HTTP, c.HTTPTLS = "0.0.0.0:0", HTTPTLS{files.Cert, files.Key} }, []string{`"0.0.0.0:0"`, "no token", "HTTPTokenFile", "Insecure"}},
		{"beyond loopback for NATS only", func(c *Config) { c.HTTP, c.NATSConfig = "0.0.0.0:0", natsConfigFile(t, oneUser) }, []string{"HTTP", `"0.0.0.0:0"`, "HTTPTokenFile"}},
		{"beyond loopback for HTTP only", func(c *Config) { c.NATS, c.HTTPTokenFile = "0.0.0.0:0", tokenFile(t, tokenOne) }, []string{"NATS", `"0.0.0.0:0"`, "no credentials", "NATSConfig with users"}},
		{"beyond loopback by TLS for NATS only", func(c *Config) { c.NATS, c.NATSConfig = "0.0.0.0:0", natsConfigFile(t, tlsBlock(files, true)) }, []string{"NATS", "no credentials", "NATSConfig with users"}},
		{"CA of nobody", func(c *Config) { c.JoinCA = files.CA }, []string{"JoinCA", "Join"}},
		{"CA that is none", func(c *Config) {
			c.Raft, c.Join, c.JoinCA = "127.0.0.1:7000", "https://127.0.0.1:8080", files.Key
		}, []string{"JoinCA", files.Key, "no certificate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := serving(t)
			c.set(&config)
			n, err := Start(bounded(t), config)
			if err == nil {
				stop(t, n)
			}
			wantOneLine(t, err, ErrConfig, c.mentions...)
		})
	}
}

// TestJoinWithToken: a node joins through another one's HTTPS and token; without the
// one or the other it is refused at once, by name, and leaves no trace.
func TestJoinWithToken(t *testing.T) {
	t.Parallel()
	files := newAuthority(t).issue()
	config := serving(t)
	config.ID, config.ElectionTimeout = "n1", 2*time.Second
	config.Raft = freeport.Address(t)
	config.HTTPTLS, config.HTTPTokenFile = HTTPTLS{files.Cert, files.Key}, tokenFile(t, tokenOne)
	leader := lead(t, config)
	if !strings.HasPrefix(leader.HTTPURL(), "https://") {
		t.Fatalf("the node's URL is %s", leader.HTTPURL())
	}
	for _, c := range []struct {
		name      string
		ca, token string
		mentions  []string
	}{
		{"no token", files.CA, "", []string{"refused", "token", "HTTPTokenFile"}},
		{"another token", files.CA, tokenFile(t, tokenTwo), []string{"refused", "token", "HTTPTokenFile"}},
		{"no CA", "", config.HTTPTokenFile, []string{"refused", "certificate", "JoinCA"}},
		{"another CA", newAuthority(t).issue().CA, config.HTTPTokenFile, []string{"refused", "certificate", "JoinCA"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := joiner(t, leader, "n2")
			config.JoinCA, config.HTTPTokenFile = c.ca, c.token
			_, err := Start(bounded(t), config)
			wantOneLine(t, err, ErrJoin, append(c.mentions, leader.HTTPURL())...)
			if strings.Contains(c.name, "token") && !errors.Is(err, ErrUnauthorized) {
				t.Errorf("the error is %v; want ErrUnauthorized", err)
			}
		})
	}
	second := joiner(t, leader, "n2")
	second.JoinCA, second.HTTPTokenFile = files.CA, config.HTTPTokenFile
	join(t, second)
	awaitMember(t, leader, "n2", true)
	third := joiner(t, leader, "n3") // the token in the URL
	third.Join = strings.Replace(leader.HTTPURL(), "//", "//:"+tokenOne+"@", 1)
	third.JoinCA = files.CA
	join(t, third)
	awaitMember(t, leader, "n3", true)
}
