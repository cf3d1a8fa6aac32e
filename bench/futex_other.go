//go:build !linux

package main

import (
	"context"
	"errors"
)

func futexLatency(context.Context, int, pace) ([]float64, error) {
	return nil, errors.New("there is nothing to compare with: a futex is Linux's; run this measure there")
}
