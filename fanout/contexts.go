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
	of     map[*watcher]*contextGroup
}

type contextGroup struct {
	done     <-chan struct{}
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
		c.of = make(map[*watcher]*contextGroup)
	}
	g := c.groups[done]
	if g == nil {
		g = &contextGroup{done: done, watchers: make(map[*watcher]struct{})}
		c.groups[done] = g
		g.release = context.AfterFunc(ctx, func() { c.expire(g, context.Cause(ctx)) })
	}
	g.watchers[w] = struct{}{}
	c.of[w] = g
	w.flags.put(inContext, true)
}

// expire ends every watcher of a context that has ended.
func (c *contexts) expire(g *contextGroup, cause error) {
	c.mu.Lock()
	if c.groups[g.done] == g {
		delete(c.groups, g.done)
	}
	for w := range g.watchers {
		delete(c.of, w)
	}
	c.mu.Unlock()
	var behind []*catchUp
	for w := range g.watchers {
		if b := w.finish(cause, false); b != nil {
			behind = append(behind, b)
		}
	}
	for _, b := range behind { // last, because the owner's state may take its time
		b.close()
	}
}

// remove forgets w, and the context if w was its last watcher.
func (c *contexts) remove(w *watcher) {
	if !w.flags.have(inContext) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.of[w]
	if g == nil {
		return
	}
	delete(c.of, w)
	delete(g.watchers, w)
	if len(g.watchers) == 0 {
		g.release()
		delete(c.groups, g.done)
	}
}
