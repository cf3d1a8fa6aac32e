package nats

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Redact removes the credentials from a list of server URLs, so that it can be
// shown. It works on the text, because what is no valid URL may hold them too. A comma
// ends a URL, also one in a password, which should be %2C: so what does not look like a
// server is left out, too, where the next credentials have no scheme before them.
func Redact(urls string) string {
	var shown []string
	doubtful, scheme := 0, "" // of these, at the end; what is before the first of them
	for u := range strings.SplitSeq(urls, ",") {
		own, server, complete := strings.Cut(strings.TrimSpace(u), "://")
		if !complete {
			own, server = "nats", own // as the client library takes it
		}
		host := server[strings.LastIndexByte(server, '@')+1:]
		switch {
		case complete:
			doubtful = 0
		case doubtful > 0 && host != server:
			own = scheme
			shown, doubtful = shown[:len(shown)-doubtful], 0
		}
		if doubtful > 0 || host == server && !withPort.MatchString(host) {
			if doubtful == 0 {
				scheme = own
			}
			doubtful++
		}
		shown = append(shown, own+"://"+host)
	}
	return strings.Join(shown, ",")
}

var withPort = regexp.MustCompile(`:[0-9]+$`)

// RedactError removes what may be credentials from an error of connecting to servers:
// package net/url quotes a URL that is none as a whole, and says of which piece of it.
func RedactError(urls string, err error) error {
	quoted, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err
	}
	if quoted.Op != "parse" {
		return quoted.Err
	}
	server := Redact(quoted.URL)
	_, host, _ := strings.Cut(server, "://")
	shown := func(u string) bool { // the library's scheme may be another one, where there is none
		_, same, _ := strings.Cut(u, "://")
		return same == host
	}
	if _, err = url.Parse(server); slices.ContainsFunc(strings.Split(Redact(urls), ","), shown) {
		if same, ok := errors.AsType[*url.Error](err); ok {
			return same.Err
		}
	}
	return errors.New("user and password are not written as in a URL; write %40 for @, %2F for /, %2C for a comma, %25 for %, and so on")
}
