package node

import (
	"slices"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/watchcast/watchcast/nats"
)

// restrict returns what a client may do that was given p, nil for everything: the
// same less what only nodes may. Nothing that p allows gives that back, for what is
// denied overrules what is allowed, also where a queue group is named.
func restrict(p *server.Permissions, s nats.Subjects) *server.Permissions {
	r := &server.Permissions{Publish: &server.SubjectPermission{}, Subscribe: &server.SubjectPermission{}}
	if p != nil && p.Publish != nil {
		r.Publish.Allow, r.Publish.Deny = slices.Clone(p.Publish.Allow), slices.Clone(p.Publish.Deny)
	}
	if p != nil && p.Subscribe != nil {
		r.Subscribe.Allow, r.Subscribe.Deny = slices.Clone(p.Subscribe.Allow), slices.Clone(p.Subscribe.Deny)
	}
	r.Publish.Deny = append(r.Publish.Deny, s.PublishedByNodes()...)
	r.Subscribe.Deny = append(r.Subscribe.Deny, s.AnsweredByNodes()...)
	return r
}

// addUsers lets the node's own users in beside those of the operator, who are
// restricted. Where the operator has none, a client without credentials is
// anonymous, one of the node's own.
func addUsers(o *server.Options, own []*server.NkeyUser, anonymous string, s nats.Subjects) {
	if len(o.Users)+len(o.Nkeys) == 0 {
		o.NoAuthUser = anonymous
	}
	for _, u := range o.Users {
		u.Permissions = restrict(u.Permissions, s)
	}
	for _, u := range o.Nkeys {
		u.Permissions = restrict(u.Permissions, s)
	}
	o.Nkeys = append(o.Nkeys, own...)
}
