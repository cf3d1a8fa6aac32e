package linear

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

// natsClient asks over NATS, at one of the brokers; when that goes, at another.
type natsClient struct {
	t     *testing.T
	conn  *natsgo.Conn
	limit time.Duration // for one request
}

// newNATSClient connects to the first of these brokers, as long as that one lives.
func newNATSClient(t *testing.T, limit time.Duration, urls ...string) *natsClient {
	t.Helper()
	conn, err := natsgo.Connect(strings.Join(urls, ","),
		natsgo.DontRandomize(),
		natsgo.MaxReconnects(-1),
		natsgo.ReconnectWait(50*time.Millisecond),
		natsgo.PingInterval(time.Second),
		natsgo.MaxPingsOutstanding(2),
	)
	if err != nil {
		t.Fatalf("connect to %s: %v", urls, err)
	}
	t.Cleanup(conn.Close)
	return &natsClient{t, conn, limit}
}

func (c *natsClient) do(ctx context.Context, in input) (output, bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.limit)
	defer cancel()
	m := natsgo.NewMsg([]string{"kv.put.", "kv.delete.", "kv.get."}[in.operation] + in.key)
	m.Data = []byte(in.value)
	if in.condition {
		m.Header.Set(nats.HeaderIfRev, strconv.FormatUint(in.ifRevision, 10))
	}
	reply, err := c.conn.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, natsgo.ErrNoResponders):
		return output{why: "no responders"}, false
	case err != nil:
		return output{result: unknown}, true
	}
	switch code := reply.Header.Get("Nats-Service-Error-Code"); code {
	case "":
	case "404":
		return output{result: absent}, true
	case "409":
		return output{result: conflict}, true
	case "504":
		return output{result: unknown}, true
	case "503":
		// Of a node that leads no more. Its successor may have received the same
		// request, and carry it out.
		return output{result: unknown}, true
	case "429":
		return output{why: code}, false
	default:
		c.t.Errorf("%s: %s %s, which nothing here can cause", in, code, reply.Header.Get("Nats-Service-Error"))
		return output{result: unknown}, true
	}
	revision, err := strconv.ParseUint(reply.Header.Get(nats.HeaderRev), 10, 64)
	if err != nil {
		c.t.Errorf("%s: the answer has the revision %q", in, reply.Header.Get(nats.HeaderRev))
	}
	return output{value: string(reply.Data), revision: revision}, true
}
