SQLC = go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
OGEN = go run github.com/ogen-go/ogen/cmd/ogen@v1.24.0

.PHONY: generate
generate: ## Generate db/walletdb from the queries and api/oas from openapi.yaml
	$(SQLC) generate
	if [ -f openapi.yaml ]; then $(OGEN) --config api/ogen.yaml --target api/oas --package oas --clean openapi.yaml; fi
