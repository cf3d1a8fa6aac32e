package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// measures are all there are, in the order in which they are taken.
var measures = []*measure{
	notifyAwake,
	notifyParked,
	notifyScale,
	applyWatch,
	inprocLatency,
	inprocLatencyBusy,
	inprocFanout,
	slowTax,
	watcherMemory,
	watcherChurn,
	putsEmbedded,
	putsCluster,
	putOverhead,
	putsNATS,
	bridgePublish,
	remoteLatency,
	remoteLatencyMemory,
	remoteFanout,
	startSnapshot,
	keyMemory,
	followerLag,
	failover,
}

// measure takes one or several figures.
type measure struct {
	name    string
	figures []figure
	full    size // for figures that mean something
	tiny    size // for a test: shows that it works
	run     func(context.Context, env, size) ([]finding, error)

	// sample, if set, takes one sample in a process of its own, for run: one
	// number or several.
	sample func(context.Context, size) ([]float64, error)
}

// figure is one number with its goal. It is named like its measure, or, if that
// has several, with a dash and a word added.
type figure struct {
	name string
	unit string
	goal goal
}

// goal is what a figure must reach.
type goal struct {
	none  bool // it is only stated
	most  bool // the limit is the most it may be, else the least
	limit float64
	also  string // what else the finding has to meet, in words
}

func atMost(limit float64) goal  { return goal{most: true, limit: limit} }
func atLeast(limit float64) goal { return goal{limit: limit} }

var noGoal = goal{none: true}

func (g goal) and(also string) goal {
	g.also = also
	return g
}

func (g goal) met(v float64) bool {
	if g.none {
		return true
	}
	if g.most {
		return v <= g.limit
	}
	return v >= g.limit
}

func (g goal) String() string {
	if g.none {
		return "none"
	}
	s := ">= " + short(g.limit)
	if g.most {
		s = "<= " + short(g.limit)
	}
	if g.also != "" {
		s += ", " + g.also
	}
	return s
}

// size is how much a measure does. Each takes of it what it has a use for.
type size struct {
	samples  int           // of each thing compared
	watchers int           // registered
	count    int           // in one sample: bursts, events, registrations
	duration time.Duration // of one sample
}

// env is what a run was asked for.
type env struct {
	tiny bool
	dir  string // for files; empty for the system's
}

// finding is what a measure found for one of its figures.
type finding struct {
	samples []float64
	compare map[string]float64 // by what else was measured in the same run
	missed  bool               // what the goal asks for beside the limit
}

// result is a finding with what it is of, as printed.
type result struct {
	Name    string             `json:"name"`
	Value   float64            `json:"value"` // the median of Samples
	Unit    string             `json:"unit"`
	Goal    string             `json:"goal"`
	Pass    bool               `json:"pass"`
	Samples []float64          `json:"samples"`
	Compare map[string]float64 `json:"compare"`
}

func (m *measure) size(e env) size {
	if e.tiny {
		return m.tiny
	}
	return m.full
}

// knows reports whether name is the measure's or one of its figures'.
func (m *measure) knows(name string) bool {
	return name == m.name || slices.ContainsFunc(m.figures, func(f figure) bool { return f.name == name })
}

// take runs the measure and judges what it found.
func (m *measure) take(ctx context.Context, e env) ([]result, error) {
	findings, err := m.run(ctx, e, m.size(e))
	if err != nil {
		return nil, err
	}
	if len(findings) != len(m.figures) {
		return nil, fmt.Errorf("found %d figures of %d", len(findings), len(m.figures))
	}
	results := make([]result, len(findings))
	for i, found := range findings {
		f := m.figures[i]
		value := rounded(median(found.samples))
		results[i] = result{
			Name:    f.name,
			Value:   value,
			Unit:    f.unit,
			Goal:    f.goal.String(),
			Pass:    f.goal.met(value) && !found.missed,
			Samples: make([]float64, len(found.samples)),
			Compare: make(map[string]float64, len(found.compare)),
		}
		for j, v := range found.samples {
			results[i].Samples[j] = rounded(v)
		}
		for peer, v := range found.compare {
			results[i].Compare[peer] = rounded(v)
		}
	}
	return results, nil
}
