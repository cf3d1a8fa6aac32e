package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/watchcast/watchcast/node"
)

const membersDescription = `Lists the nodes of the cluster, as the node that is asked knows them. "heard" and "log" are what the leader knows of the others: when one last answered, and up to where it has the log; ask the leader to see them.

` + membersNotes

const membersNotes = `Environment variables as the node's own, so that beside it no flags are needed. Any node can be asked; it has the leader make a change.

Exit codes: 0 done, 1 refused or no answer, with one line on standard error that says why, 2 wrong flags.`

// memberChanges are the commands that change the membership: what each is for, the
// call, and what is printed when it is done.
var memberChanges = map[string]struct{ description, method, verb, done string }{
	"promote": {"Makes a node that follows without a vote a voter. It must run and have caught up.", http.MethodPost, "/promote", "is a voter now"},
	"demote":  {"Takes a node's vote. It goes on following, with all data. A leader hands leadership over first.", http.MethodPost, "/demote", "has no vote now"},
	"remove":  {"Removes a node from the cluster, running or gone for good. A leader hands leadership over first. One that still runs says so, is not ready any more, and can be stopped; to come back it needs an empty data directory and --join.", http.MethodDelete, "", "is no member now"},
	"leave":   {"Removes the node that is asked from its cluster, as node remove does. It goes on running, and can be stopped then.", http.MethodDelete, "", "is no member now"},
}

type membersFlags struct {
	httpFlags `embed:""`
	Timeout   time.Duration `env:"WATCHCAST_MEMBERS_TIMEOUT" placeholder:"TIME" default:"15s" help:"How long to wait for the answer (${default})."`
}

// Validate refuses a time in which nobody can answer, and a change may be made all the same.
func (f *membersFlags) Validate() error { return someTime(f.Timeout, "15s") }

type memberFlags struct {
	membersFlags `embed:""`
	ID           memberID `arg:"" env:"-" help:"The node's id."`
}

type memberID string

// Validate refuses ids that no path of a URL can end with, so no node would be asked about
// them; it says itself which others are of no member.
func (id memberID) Validate() error {
	if id == "" || id == "." || id == ".." {
		return fmt.Errorf("%q is no node's id; node members lists them", id)
	}
	return nil
}

// membersCommand is the command of that name, or one of memberChanges.
func membersCommand(ctx context.Context, name string, args []string, stdout, stderr io.Writer) int {
	full, description := "node "+name, membersDescription
	if c, ok := memberChanges[name]; ok {
		description = c.description + "\n\n" + membersNotes
	}
	f := &memberFlags{}
	var flags any = &f.membersFlags
	if name != "members" && name != "leave" {
		flags = f
	}
	if code, done := parse(flags, full, description, args, stdout, stderr); done {
		return code
	}
	stopped := ctx
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	err := func() error {
		switch name {
		case "members":
			return listMembers(ctx, f.httpFlags, stdout)
		case "leave":
			var status struct {
				ID string `json:"id"`
			}
			if err := askNode(ctx, http.MethodGet, f.httpFlags, "/v1/status", &status); err != nil {
				return err
			}
			f.ID = memberID(status.ID)
		}
		c := memberChanges[name]
		if err := askNode(ctx, c.method, f.httpFlags, "/v1/members/"+url.PathEscape(string(f.ID))+c.verb, nil); err != nil {
			return err
		}
		fmt.Fprintln(stdout, f.ID, c.done)
		return nil
	}()
	if err != nil {
		maybe := "; a change may have been made, node members tells"
		if name == "members" {
			maybe = ""
		}
		switch {
		case stopped.Err() != nil:
			err = errors.New("interrupted" + maybe)
		case errors.Is(err, context.DeadlineExceeded):
			err = fmt.Errorf("the node at %s did not answer within %v%s", f.HTTP, f.Timeout, maybe)
		}
		fmt.Fprintf(stderr, "%s: %s\n", full, oneLine(err))
		return exitFailed
	}
	return exitOK
}

// askNode reads what a node answers into answer, unless that is nil.
func askNode(ctx context.Context, method string, f httpFlags, path string, answer any) error {
	addr := f.HTTP
	resp, err := f.ask(ctx, method, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		var failure struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(data, &failure) != nil || failure.Error == "" {
			return fmt.Errorf("%s answers with %s; is this a Watchcast node's --http?", addr, resp.Status)
		}
		return errors.New(failure.Error)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s answers with something else; is this a Watchcast node's --http?", addr)
	}
	return nil
}

func listMembers(ctx context.Context, f httpFlags, stdout io.Writer) error {
	var m node.Membership
	if err := askNode(ctx, http.MethodGet, f, "/v1/members", &m); err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tRAFT\tROLE\tHEARD\tLOG")
	for _, member := range m.Members {
		role, heard, log := "voter", "", ""
		switch {
		case member.Leader:
			role = "leader"
		case !member.Voter:
			role = "non-voter"
		}
		if c := member.Contact; c != nil {
			heard, log = (time.Duration(c.AgoMS)*time.Millisecond).String()+" ago", fmt.Sprint(c.LastIndex)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", member.ID, member.Raft, role, heard, log)
	}
	return w.Flush()
}
