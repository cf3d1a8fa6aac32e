package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestMain lets the test binary be the program itself, for measures that start
// it again.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args[1:], "--sample") {
		main()
	}
	os.Exit(m.Run())
}

func runBench(t *testing.T, all []*measure, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), all, args, &out, &errs)
	return code, out.String(), errs.String()
}

// TestEveryMeasure takes every measure, with tiny sizes, and reads its JSON as
// strictly as can be.
func TestEveryMeasure(t *testing.T) {
	for _, m := range measures {
		t.Run(m.name, func(t *testing.T) {
			code, stdout, stderr := runBench(t, measures, "--tiny", "--json", "--dir", t.TempDir(), m.name)
			if code != exitOK || stderr != "" {
				t.Fatalf("exit %d, standard error %q", code, stderr)
			}
			lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
			if len(lines) != len(m.figures) {
				t.Fatalf("%d lines for %d figures:\n%s", len(lines), len(m.figures), stdout)
			}
			for i, f := range m.figures {
				checkLine(t, lines[i], f, m.tiny.samples)
			}
		})
	}
}

func checkLine(t *testing.T, line string, f figure, samples int) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	for _, name := range []string{"name", "value", "unit", "goal", "pass", "samples", "compare"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("no field %q: %s", name, line)
		}
	}
	var r result
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if r.Name != f.name || r.Unit != f.unit || r.Goal != f.goal.String() {
		t.Errorf("is %q in %q, goal %q; want %q in %q, goal %q", r.Name, r.Unit, r.Goal, f.name, f.unit, f.goal)
	}
	if r.Pass && !f.goal.met(r.Value) {
		t.Errorf("%v passes %q", r.Value, f.goal)
	}
	if len(r.Samples) != samples || r.Value < slices.Min(r.Samples) || r.Value > slices.Max(r.Samples) {
		t.Errorf("value %v of samples %v; want %d around it", r.Value, r.Samples, samples)
	}
	if slices.Min(r.Samples) <= 0 {
		t.Errorf("samples %v; want positive ones", r.Samples)
	}
	if r.Compare == nil {
		t.Errorf("compare is null: %s", line)
	}
}

// fake has one figure that meets its goal and one that does not.
func fake(missed bool, err error) []*measure {
	return []*measure{{
		name: "fake",
		figures: []figure{
			{"fake-good", "ns", atMost(2)},
			{"fake-bad", "/s", atLeast(5).and("no loss")},
		},
		run: func(context.Context, env, size) ([]finding, error) {
			return []finding{
				{samples: []float64{3, 1, 2}, compare: map[string]float64{"peer": 4}},
				{samples: []float64{5, 6}, missed: missed},
			}, err
		},
	}}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name   string
		all    []*measure
		args   []string
		code   int
		stderr string
	}{
		{"unknown", fake(true, nil), []string{"fake", "nonsense"}, exitUsage, "bench: there is no measure \"nonsense\"; --list names them all\n"},
		{"flag", fake(true, nil), []string{"--nonsense"}, exitUsage, "bench: unknown flag --nonsense; see --help\n"},
		{"missed", fake(true, nil), nil, exitOK, ""},
		{"missed, strict", fake(true, nil), []string{"--strict"}, exitFailed, ""},
		{"other figure missed, strict", fake(true, nil), []string{"--strict", "fake-good"}, exitOK, ""},
		{"met, strict", fake(false, nil), []string{"--strict"}, exitOK, ""},
		{"failed", fake(false, errors.New("broken")), nil, exitFailed, "bench: fake: broken\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := runBench(t, c.all, c.args...)
			if code != c.code || stderr != c.stderr {
				t.Errorf("exit %d, %q; want %d, %q", code, stderr, c.code, c.stderr)
			}
		})
	}
}

func TestPrinted(t *testing.T) {
	_, stdout, _ := runBench(t, fake(true, nil), "--list")
	if want := "NAME       UNIT  GOAL\nfake-good  ns    <= 2\nfake-bad   /s    >= 5, no loss\n"; stdout != want {
		t.Errorf("list:\n%s\nwant:\n%s", stdout, want)
	}
	_, stdout, _ = runBench(t, fake(true, nil), "--json")
	if want := `{"name":"fake-good","value":2,"unit":"ns","goal":"<= 2","pass":true,"samples":[3,1,2],"compare":{"peer":4}}
{"name":"fake-bad","value":5.5,"unit":"/s","goal":">= 5, no loss","pass":false,"samples":[5,6],"compare":{}}
`; stdout != want {
		t.Errorf("JSON:\n%s\nwant:\n%s", stdout, want)
	}
	_, stdout, _ = runBench(t, fake(true, nil), "fake-bad")
	rows := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	if fields := strings.Fields(rows[len(rows)-1]); len(rows) != 4 || fields[0] != "miss" || fields[1] != "fake-bad" {
		t.Errorf("table:\n%s", stdout)
	}
}

func TestStats(t *testing.T) {
	if m := median([]float64{9, 1, 5}); m != 5 {
		t.Errorf("median of three: %v", m)
	}
	if m := median([]float64{9, 1, 5, 6}); m != 5.5 {
		t.Errorf("median of four: %v", m)
	}
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if v := quantile(hundred, q); v != want {
			t.Errorf("quantile %v of 1..100: %v; want %v", q, v, want)
		}
	}
	for v, want := range map[float64]float64{0: 0, 0.98765: 0.9877, 12.3456: 12.35, 123_456: 123_456, 7_654_321.9: 7_654_322} {
		if r := rounded(v); math.Abs(r-want) > 1e-9 {
			t.Errorf("%v rounded: %v; want %v", v, r, want)
		}
	}
}
