package node

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/internal/freeport"
)

// ask sends a request with a body and returns status and answer.
func ask(t *testing.T, method, url, kind, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// TestMembersOverHTTP goes through all of it on a node that does not lead.
func TestMembersOverHTTP(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3, withHTTP)
	leader, others := split(t, nodes)
	url := others[0].HTTPURL() + "/v1/members"

	// A node that is not told to join, and has none of its own: added from outside.
	c := joiner(t, leader, "n4")
	c.Nonvoter = true
	n := join(t, c)
	want := func(what string, code int, body string, mentions ...string) {
		t.Helper()
		if code != http.StatusOK {
			t.Fatalf("%s: %d %s", what, code, body)
		}
		for _, m := range mentions {
			if !strings.Contains(body, m) {
				t.Errorf("%s: %s lacks %s", what, body, m)
			}
		}
	}
	awaitMember(t, others[0], "n4", false)
	var m Membership
	code, body := ask(t, "GET", url, "", "")
	if err := json.Unmarshal([]byte(body), &m); err != nil || code != 200 || m.Leader != leader.ID() || m.Term != leader.Status().Term || len(m.Members) != 4 {
		t.Fatalf("get: %d %s: %v", code, body, err)
	}
	want("get", code, body, `"id": "n4"`, `"raft": "`+c.Raft+`"`, `"voter": false`, `"leader": true`)
	code, body = ask(t, "GET", leader.HTTPURL()+"/v1/members", "", "")
	want("get from the leader", code, body, `"contact"`, `"ago_ms"`, `"last_index"`)

	code, body = ask(t, "POST", url+"/n4/promote", "", "")
	want("promote", code, body, `"n4"`)
	awaitMember(t, n, "n4", true)
	code, body = ask(t, "POST", url+"/n4/demote", "", "")
	want("demote", code, body, `"n4"`)
	awaitMember(t, n, "n4", false)
	code, body = ask(t, "POST", url, "application/json", `{"id":"n4","raft":"`+c.Raft+`"}`)
	want("add what is there", code, body, `"n4"`)
	code, body = ask(t, "DELETE", url+"/n4", "", "")
	want("remove", code, body)
	awaitGone(t, others[0], "n4")
	code, body = ask(t, "DELETE", url+"/"+leader.ID(), "", "")
	want("remove the leader", code, body)
	awaitGone(t, others[0], leader.ID())
}

// TestBadMembersRequests: one line of JSON that says what is wrong, with a code, and
// nothing is changed.
func TestBadMembersRequests(t *testing.T) {
	t.Parallel()
	n := founder(t)
	before := memberNames(n)
	const kind = "application/json"
	gone := freeport.Address(t)
	for _, c := range []struct {
		name, method, path, kind, body string
		header                         []string
		status                         int
		code, mentions                 string
	}{
		{"no body", "POST", "", kind, "", nil, 400, "bad_member", "the body is not"},
		{"not JSON", "POST", "", kind, "n4", nil, 400, "bad_member", "the body is not"},
		{"unknown field", "POST", "", kind, `{"id":"n4","raft":"` + gone + `","vote":true}`, nil, 400, "bad_member", "vote"},
		{"two bodies", "POST", "", kind, `{"id":"n4","raft":"` + gone + `"}{}`, nil, 400, "bad_member", "more behind"},
		{"too long", "POST", "", kind, `{"id":"` + strings.Repeat("x", 8<<10) + `"}`, nil, 400, "bad_member", "too large"},
		{"what a form sends", "POST", "", "text/plain", `{"id":"n4","raft":"` + gone + `"}`, nil, 400, "bad_member", "Content-Type"},
		{"without a type", "POST", "", "", `{"id":"n4","raft":"` + gone + `"}`, nil, 400, "bad_member", "Content-Type"},
		{"no id", "POST", "", kind, `{"raft":"` + gone + `"}`, nil, 400, "bad_member", `the id is \"\"`},
		{"no address", "POST", "", kind, `{"id":"n4"}`, nil, 400, "bad_member", "Raft address of n4"},
		{"nobody there", "POST", "", kind, `{"id":"n4","raft":"` + gone + `"}`, nil, 409, "unreachable", gone},
		{"taken id", "POST", "", kind, `{"id":"n1","raft":"` + gone + `"}`, nil, 409, "duplicate_member", "n1"},
		{"promote nobody", "POST", "/n4/promote", "", "", nil, 404, "unknown_member", "n4"},
		{"demote nobody", "POST", "/n4/demote", "", "", nil, 404, "unknown_member", "n4"},
		{"promote for another site", "POST", "/n1/promote", "", "", []string{"Origin", "http://evil.example"}, 400, "bad_member", "browsers"},
		{"demote for another site", "POST", "/n1/demote", "", "", []string{"Sec-Fetch-Site", "cross-site"}, 400, "bad_member", "browsers"},
		{"remove nobody", "DELETE", "/n4", "", "", nil, 404, "unknown_member", "n4"},
		{"remove an id that is none", "DELETE", "/a%2Fb", "", "", nil, 404, "unknown_member", "a/b"},
		{"remove the last voter", "DELETE", "/n1", "", "", nil, 409, "last_voter", "n1"},
		{"demote the last voter", "POST", "/n1/demote", "", "", nil, 409, "last_voter", "n1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := ask(t, c.method, n.HTTPURL()+"/v1/members"+c.path, c.kind, c.body, c.header...)
			var e memberError
			if err := json.Unmarshal([]byte(body), &e); err != nil || status != c.status || e.Code != c.code || !strings.Contains(body, c.mentions) || strings.Contains(e.Text, "\n") || strings.HasPrefix(e.Text, "node: ") {
				t.Errorf("%d %s (%v); want %d, %s, and %s", status, body, err, c.status, c.code, c.mentions)
			}
			if after := memberNames(n); strings.Join(before, " ") != strings.Join(after, " ") {
				t.Errorf("the members are %v; they were %v", after, before)
			}
		})
	}
	for _, path := range []string{"/v1/members", "/v1/members/n1", "/v1/members/n1/promote"} {
		if status, body := ask(t, "PUT", n.HTTPURL()+path, kind, "{}"); status != 405 {
			t.Errorf("PUT %s: %d %s", path, status, body)
		}
	}
}

// TestRaftPort: what is asked over HTTP there, and that anything else does no harm.
func TestRaftPort(t *testing.T) {
	t.Parallel()
	n := founder(t)
	addr := n.config.Raft
	var who introduction
	if err := n.peers.get(bounded(t), addr, identityPath, &who); err != nil || who.ID != "n1" || who.Cluster != n.Status().Cluster || !who.Founded || who.MaxPayload != 1<<20 {
		t.Errorf("identity: %+v, %v", who, err)
	}
	if err := n.peers.call(bounded(t), addr, "GET", "/metrics", nil, nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("metrics on the Raft port: %v", err)
	}
	for _, garbage := range []string{"\xff\xfe garbage", "\x07 no call of Raft's", "\r\n\r\n", "BLAH", "GET / HTTP/9\r\n\r\n", strings.Repeat("G", 1<<16)} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte(garbage))
		conn.Close()
	}
	// Connections that say nothing are bounded, and end with the node.
	var quiet []net.Conn
	for range n.config.shares.raft + 16 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		quiet = append(quiet, conn)
	}
	eventually(t, "too many are turned away", func() bool {
		n.consensus.port.mu.Lock()
		defer n.consensus.port.mu.Unlock()
		return len(n.consensus.port.fresh) == n.config.shares.raft
	})
	for _, conn := range quiet {
		conn.Close()
	}
	eventually(t, "those that are gone are forgotten", func() bool {
		n.consensus.port.mu.Lock()
		defer n.consensus.port.mu.Unlock()
		return len(n.consensus.port.fresh) == 0
	})
	join(t, joiner(t, n, "n2"))
	awaitMember(t, n, "n2", true)
}
