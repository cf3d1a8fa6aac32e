package node

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestMetricsAreDocumented: docs/metrics.md has the metrics that there are, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	config := serving(t)
	config.DetailedMetrics = true
	_, body := fetch(t, "GET", lead(t, config).HTTPURL()+"/metrics")
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := func(pattern, text string) []string {
		found := make(map[string]bool)
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found[match[1]] = true
		}
		return slices.Sorted(maps.Keys(found))
	}
	there, documented := names(`(?m)^# TYPE (watchcast_\w+)`, body), names("`(watchcast_\\w+)`", string(page))
	if !slices.Equal(there, documented) {
		t.Errorf("there are %q; documented are %q", there, documented)
	}
}
