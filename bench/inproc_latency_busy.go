package main

import (
	"context"
)

// inprocLatencyBusy is inprocLatency with a producer that stays on its core, so
// that whoever is woken has to come up on another one. The kernel's part in
// that is what a futex wake takes, which no library can undercut, except by not
// sleeping: with a spin longer than the pause the dispatcher is awake. The
// consumer waits in Next in both, parked.
var inprocLatencyBusy = &measure{
	name: "inproc-latency-busy",
	figures: []figure{
		{"inproc-latency-busy", "ratio", atMost(1.2)},
		{"inproc-latency-busy-spin", "µs", atMost(5)},
	},
	full: size{samples: 11, count: 1000},
	tiny: size{samples: 3, count: 50},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		parking, err := startRig(0, 0)
		if err != nil {
			return nil, err
		}
		defer parking.stop()
		spinning, err := startRig(2*eventPeriod, 0)
		if err != nil {
			return nil, err
		}
		defer spinning.stop()
		arm := func(take func(context.Context, int, pace) ([]float64, error)) func() (float64, error) {
			return func() (float64, error) {
				p, err := percentilesOf(take(ctx, s.count, stay))
				return p.p50, err
			}
		}
		p50, err := interleave(ctx, s.samples,
			arm(parking.latency), arm(futexLatency), arm(channelLatency), arm(spinning.latency))
		if err != nil {
			return nil, err
		}
		peers := map[string]float64{
			"futex wake, µs":      median(p50[1]),
			"two Go channels, µs": median(p50[2]),
		}
		own := map[string]float64{"p50, µs": median(p50[0])}
		for peer, v := range peers {
			own[peer] = v
		}
		return []finding{
			{samples: ratios(p50[0], p50[1]), compare: own},
			{samples: p50[3], compare: peers},
		}, nil
	},
}
