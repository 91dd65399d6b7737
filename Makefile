SHELL = bash
PROJECT = github.com/legendary-wallet/legendary-wallet

SQLC = go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
OGEN = go run github.com/ogen-go/ogen/cmd/ogen@v1.24.0
GOLANGCI = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
REDOCLY = REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true npx --yes @redocly/cli@2.77.0
GOTESTSUM = go run gotest.tools/gotestsum@v1.13.0
OASDIFF = go run github.com/oasdiff/oasdiff@v1.36.0

GOVULNCHECK = go run golang.org/x/vuln/cmd/govulncheck@v1.1.4
SHIPPED = api relay worker hooks ctl deploy/ready

MODULES = $(shell go list -m -f '{{.Dir}}')

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: generate
generate: api/console/node_modules/.package-lock.json ## Generate db/walletdb from the queries, server, clients and the console from openapi.yaml, config.env, docs/performance.md from results
	$(SQLC) generate
	$(OGEN) --config api/ogen.yaml --target api/oas --package oas --clean openapi.yaml
	$(OGEN) --config local/clients/ogen.yaml --target local/clients/goclient --package goclient --clean openapi.yaml
	go run ./local/settings
	cp openapi.yaml api/openapi.yaml # a module embeds its own files only
	npm --prefix api/console run --silent build
	go run ./local/performance

# What the console is bundled with. Node is needed for nothing that is built or run.
api/console/node_modules/.package-lock.json: api/console/package-lock.json
	npm --prefix api/console ci --ignore-scripts --no-audit --no-fund --loglevel error

.PHONY: check check-go check-modules check-darwin check-contracts check-breaking check-generated check-console check-kubernetes check-cells check-vulnerabilities
check: check-contracts check-breaking check-generated check-console check-modules check-darwin check-kubernetes check-cells check-vulnerabilities check-go ## Lint everything; fail if generated code is not what its sources say

.PHONY: format
format: ## Format all Go code as make check wants it
	$(GOLANGCI) fmt $(MODULES)

# go vet looks at the failpoints, which the linters' build leaves out.
check-go:
	go vet work
	go vet -tags e2e,failpoints work
	$(GOLANGCI) run --allow-serial-runners $(MODULES:%=%/...)

# Each module has to build without the workspace, as the images and other repositories build it.
check-modules:
	@for module in $(MODULES); do \
	  echo "module $$module"; \
	  (cd $$module && GOWORK=off go build -o /dev/null ./... && GOWORK=off go mod tidy -diff) || exit 1; \
	done

# macOS: what needs no C is vetted and built; what imports librdkafka is type-checked, since there is no
# C compiler for macOS here.
CGO = ctl hooks relay worker
check-darwin: export GOOS = darwin
check-darwin: export GOARCH = arm64
check-darwin: export GOFLAGS = -tags=e2e
check-darwin:
	GOOS= GOARCH= go build -o bin/typecheck ./local/typecheck
	@for module in $(MODULES); do \
	  case " $(CGO:%=$(CURDIR)/%) " in \
	  *" $$module "*) echo "darwin: types of $$module"; bin/typecheck $$module/... ;; \
	  *) echo "darwin: $$module"; (cd $$module && CGO_ENABLED=0 go vet ./... && CGO_ENABLED=0 go build -o /dev/null ./...) ;; \
	  esac || exit 1; \
	done

# kustomize stays out of the workspace, whose modules would otherwise be built with its dependencies.
check-kubernetes:
	cd deploy/kubernetes && GOWORK=off go mod tidy -diff && GOWORK=off go vet ./... && GOWORK=off go test ./...

# HAProxy belongs to what make e2e installs.
check-cells:
	@if command -v haproxy >/dev/null; then \
	  haproxy -c -f deploy/cells/haproxy.cfg -f deploy/cells/cells.cfg; \
	else \
	  echo 'haproxy is not here: deploy/cells is not checked'; \
	fi

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
	$(REDOCLY) lint --extends recommended --skip-rule security-defined asyncapi.yaml

# oasdiff looks at what servers and clients send. breaking.txt adds what breaks a program written against
# a generated client: names that are gone, optional fields that no longer come. unbroken.txt lists what only
# looks so, and what breaks and is accepted all the same, with the reasons.
check-breaking:
	@read -r commit tag <local/last_release; \
	echo "openapi.yaml against that of $$tag"; \
	$(OASDIFF) breaking --fail-on WARN --severity-levels local/clients/breaking.txt --err-ignore local/clients/unbroken.txt $$commit:openapi.yaml openapi.yaml

check-console: api/console/node_modules/.package-lock.json
	npm --prefix api/console test --silent

check-generated:
	@state() { git status --porcelain; git diff; }; before=$$(state); \
	$(MAKE) --no-print-directory generate && \
	if [ "$$before" != "$$(state)" ]; then \
	  git status --short >&2; echo 'make generate changed these files: commit them with their source' >&2; exit 1; \
	fi

LOCAL = go build -o bin/local ./local && bin/local

# The tests of $(3), else all, with flags $(2), and $(1) for a name, linked without what debuggers read, which takes half
# the time. Each test is printed as it ends, without its subtests; what failed comes again at the end. A skipped test is
# a failure: nothing is left out silently.
define run-tests
	@mkdir -p bin; set -o pipefail; $(LOCAL) parts -- $(GOTESTSUM) --format testname --jsonfile bin/$(1).json -- \
	  -ldflags=-w -timeout 60m $(2) $(ARGS) $(or $(3),work) | awk '{ gsub("$(PROJECT)/", "") } !/^PASS [^ ]*\.[A-Z][^ ]*\// { print; fflush() }'
	@if grep '"Action":"skip".*"Test":' bin/$(1).json; then echo 'a test was skipped' >&2; exit 1; fi
endef

# Packages are tested in this order, one on each core: what takes long first, and none of it alone at the end.
test: LONG = ./local ./relay ./worker ./ctl ./hooks ./api
e2e: LONG = ./local ./api ./worker ./hooks ./relay ./ctl
# Most tests wait, so eight of a package run at once, with 200 operations a second where a load is. make e2e has 1,000 a
# second, kills each service 20 times, and plays 20,000 schedules, and as many against the model.
.PHONY: test race e2e mutations
test race: export LOAD = 200
test race: export KILLS = 5
test: export SCHEDULES = 1000
test: ## Run the tests that need nothing but Go and a C compiler, killed services included
	go test -count=1 -run '^TestTheRulesAgreeWithTheModel$$' ./worker -rapid.checks=1000
	$(call run-tests,test,-parallel 8,$(LONG) work)
	@echo 'All passed, on $(or $(KAFKA),kfake) and embedded servers. make e2e runs them again on Apache Kafka and redis-server and with the race detector, and adds:'
	@echo 'the mutation checks, TLS, three brokers, standbys and restore, Redis Cluster, upgrade, every alert in Prometheus, Swagger UI in Chromium, generated'
	@echo 'clients (Node, Python, Java), PgBouncer, schemathesis, images, the benchmark and a short fault campaign. It installs what it needs.'

# The race detector makes everything five to ten times as slow: limits of time are a minute longer (testdb.WatchStalls).
race: export SCHEDULES = 200
race: export KAFKA = kfake
race: ## Run the tests of what is concurrent with the race detector; make e2e does
	$(call run-tests,race,-race -parallel 3,./local ./relay ./worker ./hooks ./api ./db/walletcache ./service/...)

e2e: export SCHEDULES = 500
e2e: export KAFKA = apache
e2e: ## Run all tests on real servers; installs what is missing (Debian, Ubuntu) or says how
	@local/needs.sh
	SCHEDULES=20000 go test -count=1 -run '^TestSimulation$$' ./relay ./worker ./hooks
	go test -count=1 -run '^TestTheRulesAgreeWithTheModel$$' ./worker -rapid.checks=20000 # 100000 after a change of the rules
	$(call run-tests,e2e,-tags e2e,$(LONG) work)
	@$(MAKE) --no-print-directory race

mutations: export KAFKA = apache
mutations: ## Print the mutation table: each rule that was taken out, the test that failed, how fast, and what it said
	@$(LOCAL) parts -- go test -tags e2e -count=1 -v -run '^Test(Server)?MutationsAreCaught$$' ./api ./db/walletcache ./db/walletid ./hooks ./local ./relay ./worker \
	  | awk '/^ +mutation.go:[0-9]+: \|/ { sub(/^[^|]*/, ""); print; rows++ } /^(--- |FAIL|ok)/ { print > "/dev/stderr"; if (/FAIL/) failed = 1 } END { exit failed || !rows }'

.PHONY: demo run bench faults
demo: ## Run everything, send 1,000 operations a second to one wallet, check every promise; KAFKA=apache BROKERS=3, CELLS=2 two systems behind HAProxy
	@$(LOCAL) demo

run: ## Run everything until Ctrl-C; API=2 RELAY=2 WORKER=3 HOOKS=2 start replicas, STANDBYS=1 a synchronous standby, KAFKA=apache the real broker, BROKERS=3 three, REDIS=sentinel or cluster several servers
	@$(LOCAL) run

bench: ## Measure; ARGS="-list", "-only REGEXP -runs 3 -out FOLDER", "-compare OLD NEW"; KAFKA=apache for figures that count, STANDBYS=1 with a synchronous standby
	@$(LOCAL) bench $(ARGS)

faults: export KAFKA ?= apache
faults: ## Throw faults at everything under load; SEED= DURATION=10m ARGS="-only REGEXP", BROKERS=3, STANDBYS=2, REDIS=sentinel for more of them, KAFKA=kfake for broker faults
	@$(LOCAL) faults $(if $(SEED),-seed $(SEED)) $(if $(DURATION),-duration $(DURATION)) $(ARGS)
