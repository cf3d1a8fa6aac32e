package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/watchcast/watchcast/node"
)

const shownReason = 1 << 10 // of an answer, in bytes

// httpFlags say where a node serves HTTP, and what it takes to be let in. The
// environment is the node's own.
type httpFlags struct {
	HTTP      string `name:"http" placeholder:"HOST:PORT" default:"127.0.0.1:8080" help:"Where the node serves HTTP, as its own --http (${default})."`
	TokenFile string `name:"http-token-file" placeholder:"FILE" help:"File with the token that it wants, as its own --http-token-file."`
	Cert      string `name:"http-tls-cert" placeholder:"FILE" help:"Its certificate, as its own --http-tls-cert: ask by TLS, and no other."`
	CA        string `name:"http-ca" placeholder:"FILE" help:"The CA of its certificate, which must have its host: ask by TLS."`
}

// someTime refuses a --timeout that is none.
func someTime(t time.Duration, such string) error {
	if t <= 0 {
		return fmt.Errorf("--timeout is %v; give a time above 0, such as %s", t, such)
	}
	return nil
}

// url is where the node serves path to this machine.
func (f httpFlags) url(path string) (string, error) {
	if f.HTTP == node.Off {
		return "", errors.New("--http is off, so nobody can ask this node; let it serve HTTP, on a loopback address if nobody else should reach it")
	}
	host, port, err := net.SplitHostPort(f.HTTP)
	if err != nil || port == "" || port == "0" {
		return "", fmt.Errorf("--http is %q; give the host:port where the node serves HTTP", f.HTTP)
	}
	scheme := "http://"
	if f.Cert != "" || f.CA != "" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(nearby(host), port) + path, nil
}

// request returns a request to the node, with the token that it wants.
func (f httpFlags) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	url, err := f.url(path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, fmt.Errorf("--http is %q; give the host:port where the node serves HTTP", f.HTTP)
	}
	if f.TokenFile != "" {
		token, err := node.ReadHTTPToken(f.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("--http-token-file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// do sends a request of [httpFlags.request].
func (f httpFlags) do(req *http.Request) (*http.Response, error) {
	secure, err := f.secure()
	if err != nil {
		return nil, err
	}
	resp, err := direct(secure).Do(req)
	if err != nil {
		return nil, unanswered(f.HTTP, err)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		resp.Body.Close()
		return nil, fmt.Errorf("the node at %s wants a token, or another one; give its --http-token-file", f.HTTP)
	case http.StatusBadRequest: // as package net/http says to who asks without TLS
		start := bufio.NewReader(resp.Body)
		if said, _ := start.Peek(len(wantsTLS)); string(said) == wantsTLS {
			resp.Body.Close()
			return nil, fmt.Errorf("what answers at %s wants TLS; give its --http-tls-cert, or the --http-ca of that", f.HTTP)
		}
		resp.Body = struct {
			io.Reader
			io.Closer
		}{start, resp.Body}
	}
	return resp, nil
}

const wantsTLS = "Client sent an HTTP request to an HTTPS server."

// ask does both.
func (f httpFlags) ask(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := f.request(ctx, method, path, nil)
	if err != nil {
		return nil, err
	}
	return f.do(req)
}

// direct is a client that asks a node itself, not a proxy of the environment.
func direct(secure *tls.Config) *http.Client {
	// Where package net/http complains of a stranger, beside the error that it returns.
	log.SetOutput(io.Discard)
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: connectWait}).DialContext,
			TLSClientConfig:       secure,
			DisableKeepAlives:     true,
			DisableCompression:    true,
			ExpectContinueTimeout: stallWait,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this node
	}
}

// unanswered says what to do about an error of an HTTP client.
func unanswered(addr string, err error) error {
	var op *net.OpError
	asked, ok := errors.AsType[*url.Error](err)
	strange, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case untrusted:
		return fmt.Errorf("what answers at %s is not trusted: %w; see --http-ca and --http-tls-cert", addr, strange.Err)
	case err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // no error of its own
		return fmt.Errorf("what answers at %s does not speak TLS; leave out --http-ca and --http-tls-cert", addr)
	case errors.Is(err, errOtherCertificate):
		return fmt.Errorf("what answers at %s is not the node: %w; see --http-ca and --http-tls-cert", addr, asked.Err)
	case errors.As(err, &op) && op.Op == "dial" && !op.Timeout():
		return fmt.Errorf("no node answers at %s: %w; is it running, and is this its --http?", addr, op.Err)
	case ok && op == nil && !asked.Timeout() && !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF):
		return fmt.Errorf("what answers at %s does not speak HTTP; is this a Watchcast node's --http?", addr)
	}
	return err
}

// refusal is the reason that an answer gives.
func refusal(addr string, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, shownReason))
	switch reason := strings.TrimSpace(string(body)); {
	case err != nil:
		return fmt.Errorf("the answer of %s broke off: %w", addr, err)
	case resp.StatusCode == http.StatusNotFound || reason == "":
		return fmt.Errorf("%s answers with %s; is this a Watchcast node's --http?", addr, resp.Status)
	default:
		return fmt.Errorf("the node at %s refuses: %s", addr, reason)
	}
}

// nearby returns the host to connect to from the same machine, for one to
// listen on: who listens on every address is reached by the loopback one.
func nearby(host string) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "127.0.0.1" // also for [::], where IPv6 may be off
	}
	return host
}
