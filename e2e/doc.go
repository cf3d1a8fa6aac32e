// Package e2e drives the built binaries from outside, as a user does: the node,
// the subscriber, and the real nats command. Its tests need the build tag cli
// and the path of the nats command in NATS_CLI; make cli provides both.
package e2e
