package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/watchcast/watchcast/node"
)

const shownReason = 1 << 10 // of an answer, in bytes

// webURL is where the node whose --http is addr serves path to this machine.
func webURL(addr, path string) (string, error) {
	if addr == node.Off {
		return "", errors.New("--http is off, so nobody can ask this node; let it serve HTTP, on a loopback address if nobody else should reach it")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" || port == "0" {
		return "", fmt.Errorf("--http is %q; give the host:port where the node serves HTTP", addr)
	}
	return "http://" + net.JoinHostPort(nearby(host), port) + path, nil
}

// direct is a client that asks a node itself, not a proxy of the environment.
func direct() *http.Client {
	// Where package net/http complains of a stranger, beside the error that it returns.
	log.SetOutput(io.Discard)
	return &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: connectWait}).DialContext,
		DisableKeepAlives:     true,
		DisableCompression:    true,
		ExpectContinueTimeout: stallWait,
	}}
}

// request asks the node whose --http is addr.
func request(ctx context.Context, method, addr, path string) (*http.Response, error) {
	url, err := webURL(addr, path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, fmt.Errorf("--http is %q; give the host:port where the node serves HTTP", addr)
	}
	resp, err := direct().Do(req)
	if err != nil {
		return nil, unanswered(addr, err)
	}
	return resp, nil
}

// unanswered says what to do about an error of an HTTP client.
func unanswered(addr string, err error) error {
	var op *net.OpError
	asked, ok := errors.AsType[*url.Error](err)
	switch {
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
