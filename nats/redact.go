package nats

import (
	"errors"
	"net/url"
	"strings"
)

// Redact removes the credentials from a list of server URLs, so that it can be
// shown. It works on the text, because what is no valid URL may hold them too.
func Redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		scheme, host, ok := strings.Cut(strings.TrimSpace(u), "://")
		if !ok {
			scheme, host = "nats", scheme // as the client library takes it
		}
		list[i] = scheme + "://" + host[strings.LastIndexByte(host, '@')+1:]
	}
	return strings.Join(list, ",")
}

// RedactError removes what may be credentials from an error of connecting to servers:
// package net/url quotes a URL that is none as a whole, and says of which piece of it.
func RedactError(err error) error {
	quoted, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err
	}
	if quoted.Op != "parse" {
		return quoted.Err
	}
	_, err = url.Parse(Redact(quoted.URL))
	if same, ok := errors.AsType[*url.Error](err); ok {
		return same.Err
	}
	return errors.New("user and password are not written as in a URL; write %40 for @, %2F for /, %25 for %, and so on")
}
