package nats

import "strings"

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
