//go:build cli

package e2e

import "testing"

// TestNatsCommandLists is the session of docs/protocol.md, Lists and catching up.
func TestNatsCommandLists(t *testing.T) {
	n := startNode(t, t.TempDir())
	first := mustMatch(t, "put", n.nats("req", "kv.put.app.color", "blue"), `Watch-Rev: (\d+)`)[1]
	second := mustMatch(t, "put", n.nats("req", "kv.put.app.size", "12"), `Watch-Rev: (\d+)`)[1]
	n.nats("req", "kv.put.other", "x")

	const at = ` \d{4}-\d\d-\d\dT[0-9:.]+Z - `
	list := n.nats("req", "kv.list", "app.>")
	mustMatch(t, "list", list, `(?m)^put `+first+at+`4 app\.color\nblue\nput `+second+at+`2 app\.size\n12$`)
	mustMatch(t, "list", list, `Kv-Last: true`)
	revision := mustMatch(t, "list", list, `Watch-Rev: (\d+)`)[1]
	mustMatch(t, "where it stands", n.nats("req", "kv.since", ""), `Watch-Rev: `+revision)

	gone := mustMatch(t, "delete", n.nats("req", "kv.delete.app.size", ""), `Watch-Rev: (\d+)`)[1]
	ask := []string{"-H", "Kv-Since:" + revision}
	for _, args := range [][]string{{"kv.since"}, {"kv.stale.since", "-H", "Kv-Min-Rev:" + gone}} {
		since := n.nats(append(append([]string{"req", args[0], "app.>"}, args[1:]...), ask...)...)
		mustMatch(t, args[0], since, `(?m)^delete `+gone+at+`0 app\.size$`)
		mustMatch(t, args[0], since, `Watch-Rev: `+gone)
	}
	mustMatch(t, "all that come", n.nats("req", "kv.stale.list", "app.>", "--replies=0", "--timeout=1s"), `(?m)^put `+first+at+`4 app\.color\nblue$`)
	mustMatch(t, "a header of stale ones", n.nats("req", "kv.since", "", "-H", "Kv-Min-Rev:1"), `Nats-Service-Error: .*Kv-Min-Rev`)
	mustMatch(t, "a revision that is not there", n.nats("req", "kv.since", "", "-H", "Kv-Since:1000000"), `Kv-Oldest: 0`)
	mustMatch(t, "a bad pattern", n.nats("req", "kv.list", "app.>.x"), `Nats-Service-Error: .*> may only be the last token`)
}
