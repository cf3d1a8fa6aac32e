package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"time"
)

const (
	changeTimeout = 10 * time.Second // for a change of the membership over HTTP
	maxNewMember  = 4 << 10          // of a request, in bytes
)

// newMember is the body of POST /v1/members.
type newMember struct {
	ID   string `json:"id"`
	Raft string `json:"raft"`
}

// memberRoutes serves the membership, and has changes made by apply.
func (n *Node) memberRoutes(mux *http.ServeMux, apply func(context.Context, change) error) {
	mux.HandleFunc("GET "+membersPath, func(w http.ResponseWriter, _ *http.Request) {
		m := n.membership()
		m.Members = n.Members()
		n.writeJSON(w, http.StatusOK, m)
	})
	refuse := func(w http.ResponseWriter, err error) {
		body, status := encodeMemberError(err)
		n.writeJSON(w, status, body)
	}
	answer := func(w http.ResponseWriter, r *http.Request, c change) {
		ctx, cancel := context.WithTimeout(r.Context(), changeTimeout)
		defer cancel()
		if err := apply(ctx, c); err != nil {
			refuse(w, err)
			return
		}
		n.writeJSON(w, http.StatusOK, n.membership())
	}
	mux.HandleFunc("POST "+membersPath, func(w http.ResponseWriter, r *http.Request) {
		m, err := readNewMember(w, r)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, r, change{verb: verbAdd, id: m.ID, address: m.Raft})
	})
	for _, verb := range []string{verbPromote, verbDemote} {
		mux.HandleFunc("POST "+membersPath+"/{id}/"+verb, func(w http.ResponseWriter, r *http.Request) {
			if err := fromProgram(r); err != nil {
				refuse(w, err)
				return
			}
			answer(w, r, change{verb: verb, id: r.PathValue("id")})
		})
	}
	mux.HandleFunc("DELETE "+membersPath+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, change{verb: verbRemove, id: r.PathValue("id")})
	})
}

func readNewMember(w http.ResponseWriter, r *http.Request) (newMember, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return newMember{}, fmt.Errorf(`%w: give the header Content-Type: application/json, and {"id":…,"raft":"HOST:PORT"}`, ErrBadMember)
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNewMember))
	decoder.DisallowUnknownFields()
	var m newMember
	err := decoder.Decode(&m)
	if err == nil && decoder.More() {
		err = errors.New("there is more behind it")
	}
	if err != nil {
		return newMember{}, fmt.Errorf(`%w: the body is not {"id":…,"raft":"HOST:PORT"}: %w`, ErrBadMember, err)
	}
	// The time for the request is over before that for the change. Fails where the connection is gone.
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(2 * changeTimeout))
	return m, nil
}

// fromProgram refuses what a page of another site may have a browser send: a POST
// without a body needs no leave.
func fromProgram(r *http.Request) error {
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return fmt.Errorf("%w: requests of browsers are not taken here; use node promote, node demote, or another HTTP client", ErrBadMember)
	}
	return nil
}
