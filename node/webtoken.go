package node

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// ErrUnauthorized says that a node wants a token over HTTP, and was shown none that it
// knows. Nothing was changed.
var ErrUnauthorized = errors.New("node: it wants a token, or another one: one of its HTTPTokenFile, as a bearer token or a password")

const (
	minToken     = 16      // bytes
	maxTokenFile = 4 << 10 // bytes
	maxTokens    = 16
)

// tokens are what whoever uses HTTP must show, one of them, as hashes: of one length,
// whatever is compared with them.
type tokens [][sha256.Size]byte

// readTokens returns the tokens in file, one a line: the first is the one that this
// node shows others.
func readTokens(file string) (first string, all tokens, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return "", nil, err
	}
	lines := strings.Fields(string(data))
	if len(data) > maxTokenFile || len(lines) == 0 || len(lines) > maxTokens {
		return "", nil, fmt.Errorf("%s has %d tokens; give 1 to %d, one a line, in %d bytes at most", file, len(lines), maxTokens, maxTokenFile)
	}
	for i, token := range lines {
		if len(token) < minToken {
			return "", nil, fmt.Errorf("token %d in %s has %d bytes; give %d or more without spaces", i+1, file, len(token), minToken)
		}
		all = append(all, sha256.Sum256([]byte(token)))
	}
	return lines[0], all, nil
}

// has compares in a time that tells nothing of the tokens.
func (t tokens) has(token string) bool {
	shown, known := sha256.Sum256([]byte(token)), 0
	for _, one := range t {
		known |= subtle.ConstantTimeCompare(one[:], shown[:])
	}
	return known == 1
}

func (c *Config) checkHTTPToken() error {
	if c.HTTPTokenFile == "" {
		return nil
	}
	if _, _, err := readTokens(c.HTTPTokenFile); err != nil {
		return badConfig("%s: %w", field("HTTPTokenFile"), err)
	}
	return nil
}

// httpToken is what this node shows to others, empty for nothing.
func (c *Config) httpToken() (string, error) {
	if c.HTTPTokenFile == "" {
		return "", nil
	}
	token, _, err := readTokens(c.HTTPTokenFile)
	return token, err
}

// guarded lets through who shows a token, and everyone to the checks of health, which
// tell nothing and change nothing.
func (n *Node) guarded(next http.Handler) (http.Handler, error) {
	file := n.config.HTTPTokenFile
	if file == "" {
		return next, nil
	}
	read := func() (tokens, error) {
		_, all, err := readTokens(file)
		return all, err
	}
	first, err := read()
	if err != nil {
		return nil, badConfig("%s: %w", field("HTTPTokenFile"), err)
	}
	known := newFresh("tokens for HTTP", first, read, n.log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if public(r) || known.get().has(shownToken(r)) {
			next.ServeHTTP(w, r)
			return
		}
		// A browser asks its user for it, as the password of anyone.
		w.Header().Set("WWW-Authenticate", `Basic realm="watchcast", charset="UTF-8"`)
		body, status := encodeMemberError(ErrUnauthorized)
		n.writeJSON(w, status, body)
	}), nil
}

// public reports whether a request is a check of health.
func public(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// shownToken returns what a request shows: as a bearer token, or as a password.
func shownToken(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// ReadHTTPToken returns the token to show to a node whose [Config.HTTPTokenFile] has
// the same content as file. The error says what is wrong with the file.
func ReadHTTPToken(file string) (string, error) {
	token, _, err := readTokens(file)
	return token, err
}
