SQLC = go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
OGEN = go run github.com/ogen-go/ogen/cmd/ogen@v1.24.0
GOLANGCI = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
REDOCLY = REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true npx --yes @redocly/cli@2.77.0
OASDIFF = go run github.com/oasdiff/oasdiff@v1.36.0

GOVULNCHECK = go run golang.org/x/vuln/cmd/govulncheck@v1.1.4
SHIPPED = api relay worker ctl deploy/ready

MODULES = $(shell go list -m -f '{{.Dir}}')

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: generate
generate: ## Generate db/walletdb from the queries, and server and client from openapi.yaml
	$(SQLC) generate
	$(OGEN) --config api/ogen.yaml --target api/oas --package oas --clean openapi.yaml
	$(OGEN) --config local/clients/ogen.yaml --target local/clients/goclient --package goclient --clean openapi.yaml
	cp openapi.yaml api/openapi.yaml # a module embeds its own files only

.PHONY: check check-go check-modules check-contracts check-breaking check-generated check-kubernetes check-vulnerabilities
check: check-contracts check-breaking check-generated check-modules check-kubernetes check-vulnerabilities check-go ## Lint everything; fail if generated code is not what its sources say

.PHONY: format
format: ## Format all Go code as make check wants it
	$(GOLANGCI) fmt $(MODULES)

# go vet looks at the failpoints, which the linters' default build leaves out.
check-go:
	go vet -tags failpoints work
	$(GOLANGCI) run --allow-serial-runners $(MODULES:%=%/...)

# Each module has to build without the workspace, as the images and other repositories build it.
check-modules:
	@for module in $(MODULES); do \
	  echo "module $$module"; \
	  (cd $$module && GOWORK=off go build -o /dev/null ./... && GOWORK=off go mod tidy -diff) || exit 1; \
	done

# kustomize stays out of the workspace, whose modules would otherwise be built with its dependencies.
check-kubernetes:
	cd deploy/kubernetes && GOWORK=off go mod tidy -diff && GOWORK=off go vet ./... && GOWORK=off go test ./...

# The database of vulnerabilities is on the network: where it cannot be reached, that is said, and no
# failure. What is found is one.
check-vulnerabilities:
	@if curl --silent --fail --max-time 10 --output /dev/null https://vuln.go.dev/index/db.json; then \
	  for module in $(SHIPPED); do (cd $$module && GOWORK=off $(GOVULNCHECK) ./...) || exit 1; done; \
	else \
	  echo 'vuln.go.dev cannot be reached: vulnerabilities are not looked for'; \
	fi

# sqlc drops the rest of an expression after a bare @name, silently.
check-contracts:
	@if grep -nE '@\w+(::\w+)?\s*[-+*/]|[-+*/]\s*@\w' db/queries/*.sql; then \
	  echo 'write sqlc.arg(name) inside an expression: sqlc miscompiles @name there' >&2; exit 1; \
	fi
	$(REDOCLY) lint --extends recommended --skip-rule operation-4xx-response --skip-rule tag-description openapi.yaml

# oasdiff looks at what servers and clients send. breaking.txt adds what breaks a program written against
# a generated client: names that are gone, optional fields that no longer come.
check-breaking:
	@read -r commit tag <local/last_release; \
	echo "openapi.yaml against that of $$tag"; \
	$(OASDIFF) breaking --fail-on WARN --severity-levels local/clients/breaking.txt $$commit:openapi.yaml openapi.yaml

check-generated:
	@state() { git status --porcelain; git diff; }; before=$$(state); \
	$(MAKE) --no-print-directory generate && \
	if [ "$$before" != "$$(state)" ]; then \
	  git status --short >&2; echo 'make generate changed these files: commit them with their source' >&2; exit 1; \
	fi

LOCAL = go build -o bin/local ./local && bin/local

# The race detector makes the simulations ten times as slow: most of their schedules run without it.
.PHONY: test mutations
test: ## Run all tests with the race detector, end to end ones included
	SCHEDULES=20000 go test -count=1 -run '^TestSimulation$$' ./relay ./worker
	@export SCHEDULES=500 && $(LOCAL) parts -- go test -race -timeout 40m $(ARGS) work

mutations: ## Print the mutation table: each rule that was taken out, the test that failed, how fast, and what it said
	@$(LOCAL) parts -- go test -count=1 -v -run '^TestMutationsAreCaught$$' ./api ./db/walletcache ./relay ./worker \
	  | awk '/^ +mutation.go:[0-9]+: \|/ { sub(/^[^|]*/, ""); print; rows++ } /^(--- |FAIL|ok)/ { print > "/dev/stderr"; if (/FAIL/) failed = 1 } END { exit failed || !rows }'

.PHONY: demo run bench faults
demo: ## Run everything, send 1,000 operations a second to one wallet, check every promise
	@$(LOCAL) demo

run: ## Run everything until Ctrl-C; API=2 RELAY=2 WORKER=3 start replicas, KAFKA=apache the real broker
	@$(LOCAL) run

bench: ## Measure; ARGS="-list", "-only REGEXP -runs 3 -out FOLDER", "-compare OLD NEW"; KAFKA=apache for figures that count
	@$(LOCAL) bench $(ARGS)

faults: export KAFKA ?= apache
faults: ## Throw faults at everything under load; SEED= DURATION=10m ARGS="-only REGEXP", KAFKA=kfake for a broker that lies
	@$(LOCAL) faults $(if $(SEED),-seed $(SEED)) $(if $(DURATION),-duration $(DURATION)) $(ARGS)
