# What CI runs is `make check`. Everything else is a part of it, or for people.

MODULES := . bench examples
# In runs: a target that is given a time now and then fails with its deadline.
FUZZ    := 10000x
BIN     := $(CURDIR)/bin
NATSCLI := v0.5.1
# The Compose plugin, or the older program of its own.
COMPOSE := $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
export GOFLAGS := -buildvcs=false
# For --version. The build fails where git refuses a tree that is somebody else's.
VCS := $(if $(shell git rev-parse HEAD 2>/dev/null),auto,false)

.PHONY: build check format vet staticcheck test race fuzz modules cli natscli engine image demo demo-down e2e bench clean

build: ## node and subscriber, static, in bin/
	CGO_ENABLED=0 go build -buildvcs=$(VCS) -trimpath -ldflags='-s -w' -o $(BIN)/ ./cmd/...

check: format vet staticcheck test race fuzz modules cli e2e ## what CI runs

format: ## fails if a file is not formatted
	@files=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$files" ]; then echo "not formatted, run gofmt -w:"; echo "$$files"; exit 1; fi

vet:
	for m in $(MODULES); do (cd $$m && go vet ./...) || exit 1; done
	go vet -tags cli,docker ./e2e
	GOARCH=386 go vet ./... # an int has 32 bits there

staticcheck:
	go build -modfile=tools/go.mod -o $(BIN)/staticcheck honnef.co/go/tools/cmd/staticcheck
	for m in $(MODULES); do (cd $$m && $(BIN)/staticcheck ./...) || exit 1; done
	$(BIN)/staticcheck -tags cli,docker ./e2e

test: ## the README's test command
	go test ./...

race:
	go test -race -timeout 20m ./... # node takes 240 s on two cores

fuzz: ## every fuzz target, for $(FUZZ) each
	@set -e; for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "fuzz $$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) $$p; \
	  done; done

modules: ## the modules beside the main one
	for m in bench examples; do (cd $$m && go build -o /dev/null ./... && go test ./...) || exit 1; done

natscli:
	GOBIN=$(BIN) go install github.com/nats-io/natscli/nats@$(NATSCLI)

cli: natscli ## the binaries, driven from outside with the real nats command
	NATS_CLI=$(BIN)/nats go test -count=1 -tags cli -v ./e2e

engine:
	@docker info >/dev/null 2>&1 || { echo "this needs a running Docker engine, and docker info fails; it tells why"; exit 1; }

image: engine build ## the container image watchcast, from bin/ alone
	docker build -q -t watchcast .

demo: image ## three nodes, a writer and two subscribers in containers; shows what arrives
	$(COMPOSE) up -d
	@echo; echo "Ctrl-C leaves the demo running; make demo-down removes it. See docs/operations.md."; echo
	-@$(COMPOSE) logs -f --tail=4 writer subscriber-1 subscriber-2

demo-down: ## removes the demo's containers, network and data
	$(COMPOSE) down --volumes --remove-orphans

e2e: image natscli ## the demo driven from outside: a killed leader, a cut network, restarts
	NATS_CLI=$(BIN)/nats COMPOSE="$(COMPOSE)" go test -count=1 -tags docker -timeout 8m -v ./e2e

bench: ## every measure; go run -C bench . --list names them
	go run -C bench . --json

clean:
	rm -rf $(BIN)
