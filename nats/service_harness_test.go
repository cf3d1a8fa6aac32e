package nats

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// kv is a service at work and a client of it.
type kv struct {
	t       testing.TB
	ctx     context.Context
	broker  *server.Server
	backend *mapBackend
	service *Service
	client  *nats.Conn
	log     *lockedBuffer
}

// lockedBuffer collects what is logged.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startKV(t testing.TB, backend *mapBackend, change ...func(*server.Options)) *kv {
	t.Helper()
	k := &kv{t: t, ctx: testContext(t), backend: backend, log: new(lockedBuffer)}
	k.broker, _ = startBroker(t, change...)
	k.client = dial(t, k.broker.ClientURL())
	var err error
	k.service, err = StartService(backend, ServiceOptions{
		Conn:     dial(t, "", nats.InProcessServer(k.broker)),
		Version:  "1.2.3",
		Metadata: map[string]string{"node": "n1"},
		Logger:   slog.New(slog.NewTextHandler(k.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.service.Stop)
	return k
}

// answer is a reply.
type answer struct {
	value    string
	revision uint64
	code     Code
	text     string
}

// request asks and returns the reply, which must be well-formed.
func (k *kv) request(subject, value string, header nats.Header) answer {
	k.t.Helper()
	m, err := k.client.RequestMsgWithContext(k.ctx, &nats.Msg{Subject: subject, Data: []byte(value), Header: header})
	if err != nil {
		k.t.Fatalf("request on %q: %v", subject, err)
	}
	a, err := readAnswer(m)
	if err != nil {
		k.t.Fatalf("request on %q: %v", subject, err)
	}
	return a
}

func readAnswer(m *nats.Msg) (a answer, err error) {
	code, text, rev := m.Header.Get(micro.ErrorCodeHeader), m.Header.Get(micro.ErrorHeader), m.Header.Get(HeaderRev)
	switch {
	case code != "" && text != "" && rev == "" && len(m.Data) == 0:
		n, err := strconv.Atoi(code)
		return answer{code: Code(n), text: text}, err
	case code == "" && text == "" && rev != "":
		n, err := strconv.ParseUint(rev, 10, 64)
		return answer{value: string(m.Data), revision: n}, err
	}
	return answer{}, fmt.Errorf("the reply is neither an answer nor an error: %q, %v", m.Data, m.Header)
}

// ifRev returns a header with a condition.
func ifRev(values ...string) nats.Header { return nats.Header{HeaderIfRev: values} }

// replies is an inbox for pipelined requests, which number themselves.
type replies struct {
	prefix   string
	messages chan *nats.Msg
}

func (k *kv) inbox(size int) *replies {
	k.t.Helper()
	r := &replies{prefix: k.client.NewInbox(), messages: make(chan *nats.Msg, size)}
	if _, err := k.client.ChanSubscribe(r.prefix+".*", r.messages); err != nil {
		k.t.Fatal(err)
	}
	flush(k.t, k.ctx, k.client) // requests may come from another connection
	return r
}

// send sends request number i without waiting for the reply.
func (k *kv) send(r *replies, i int, subject, value string) {
	k.t.Helper()
	if err := k.client.PublishRequest(subject, r.prefix+"."+strconv.Itoa(i), []byte(value)); err != nil {
		k.t.Fatal(err)
	}
}

// sendRaw sends a request with a header line as it is, over a connection of its
// own.
func (k *kv) sendRaw(subject, reply, line string) {
	k.t.Helper()
	conn, err := net.Dial("tcp", k.broker.Addr().String())
	if err != nil {
		k.t.Fatal(err)
	}
	defer conn.Close()
	header := "NATS/1.0\r\n" + line + "\r\n\r\n"
	_, err = fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %s %d %d\r\n%s\r\nPING\r\n", subject, reply, len(header), len(header), header)
	if err != nil {
		k.t.Fatal(err)
	}
	for lines := bufio.NewScanner(conn); lines.Scan() && lines.Text() != "PONG"; {
	}
}

// next returns the next reply and the number of its request.
func (k *kv) next(r *replies) (i int, a answer) {
	k.t.Helper()
	m := receive(k.t, k.ctx, "the next reply comes", r.messages)
	i, err := strconv.Atoi(m.Subject[len(r.prefix)+1:])
	if err != nil {
		k.t.Fatal(err)
	}
	if a, err = readAnswer(m); err != nil {
		k.t.Fatalf("reply to request %d: %v", i, err)
	}
	return i, a
}
