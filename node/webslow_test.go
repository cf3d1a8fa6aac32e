package node

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestBodyThatDoesNotCome: who sends the head of a request over HTTP, and not what it says
// is to follow, holds no connection, with a token or without.
func TestBodyThatDoesNotCome(t *testing.T) {
	t.Parallel()
	c := serving(t)
	c.HTTPTokenFile = tokenFile(t, tokenOne)
	n := lead(t, c)
	for _, request := range []string{"POST /v1/members", "POST /v1/members/n2/promote", "DELETE /v1/members/n2", "GET /v1/status", "GET /healthz", "PUT /v1/nothing"} {
		for _, shown := range []string{"", tokenOne} {
			t.Run(fmt.Sprint(request, " ", shown != ""), func(t *testing.T) {
				t.Parallel()
				conn, err := net.Dial("tcp", strings.TrimPrefix(n.HTTPURL(), "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: n1\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{", request, shown); err != nil {
					t.Fatal(err)
				}
				if said, err := io.ReadAll(conn); err != nil {
					t.Errorf("the connection stays: %v, after %q", err, said)
				}
			})
		}
	}
}
