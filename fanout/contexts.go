package fanout

import (
	"context"
	"sync"
)

// contexts ends watchers when their context does. It keeps one registration
// for each distinct context, not for each watcher: a request or a component
// that opens a thousand watches under one context costs one.
type contexts struct {
	mu     sync.Mutex
	groups map[<-chan struct{}]*contextGroup
}

type contextGroup struct {
	watchers map[*watcher]struct{}
	release  func() bool // takes back the registration
}

// add makes w end with the cause of ctx. A context that never ends costs
// nothing.
func (c *contexts) add(ctx context.Context, w *watcher) {
	done := ctx.Done()
	if done == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.groups == nil {
		c.groups = make(map[<-chan struct{}]*contextGroup)
	}
	g := c.groups[done]
	if g == nil {
		g = &contextGroup{watchers: make(map[*watcher]struct{})}
		c.groups[done] = g
		g.release = context.AfterFunc(ctx, func() { c.expire(done, context.Cause(ctx)) })
	}
	g.watchers[w] = struct{}{}
	w.done = done
}

// expire ends every watcher of a context that has ended.
func (c *contexts) expire(done <-chan struct{}, cause error) {
	c.mu.Lock()
	g := c.groups[done]
	delete(c.groups, done)
	c.mu.Unlock()
	if g == nil {
		return
	}
	for w := range g.watchers {
		w.end(cause, false)
	}
}

// remove forgets w, and the context if w was its last watcher.
func (c *contexts) remove(w *watcher) {
	if w.done == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[w.done]
	if g == nil {
		return
	}
	delete(g.watchers, w)
	if len(g.watchers) == 0 {
		g.release()
		delete(c.groups, w.done)
	}
}
