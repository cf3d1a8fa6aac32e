# What CI runs is `make check`. Everything else is a part of it, or for people.

MODULES := . bench examples
# In runs: a target that is given a time now and then fails with its deadline.
FUZZ    := 10000x
BIN     := $(CURDIR)/bin
NATSCLI := v0.5.1
export GOFLAGS := -buildvcs=false

.PHONY: build check format vet staticcheck test race fuzz modules cli demo bench clean

build: ## node and subscriber, static, in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(BIN)/ ./cmd/...

check: format vet staticcheck test race fuzz modules cli ## what CI runs

format: ## fails if a file is not formatted
	@files=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$files" ]; then echo "not formatted, run gofmt -w:"; echo "$$files"; exit 1; fi

vet:
	for m in $(MODULES); do (cd $$m && go vet ./...) || exit 1; done
	go vet -tags cli ./e2e

staticcheck:
	go build -modfile=tools/go.mod -o $(BIN)/staticcheck honnef.co/go/tools/cmd/staticcheck
	for m in $(MODULES); do (cd $$m && $(BIN)/staticcheck ./...) || exit 1; done
	$(BIN)/staticcheck -tags cli ./e2e

test: ## the README's test command
	go test ./...

race:
	go test -race ./...

fuzz: ## every fuzz target, for $(FUZZ) each
	@set -e; for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "fuzz $$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) $$p; \
	  done; done

modules: ## the modules beside the main one
	for m in bench examples; do (cd $$m && go build -o /dev/null ./... && go test ./...) || exit 1; done

cli: ## the binaries, driven from outside with the real nats command
	GOBIN=$(BIN) go install github.com/nats-io/natscli/nats@$(NATSCLI)
	NATS_CLI=$(BIN)/nats go test -count=1 -tags cli -v ./e2e

demo: build ## three nodes, a writer and a subscriber in containers
	docker compose version >/dev/null 2>&1 && c="docker compose" || c="docker-compose"; \
	$$c up --build

bench: ## every measure; go run -C bench . --list names them
	go run -C bench . --json

clean:
	rm -rf $(BIN)
