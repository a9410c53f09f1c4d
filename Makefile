.PHONY: run build test race torture lint fmt bench tidy deadcode vuln verify

# Tools have a module of their own, so that what they need is not needed by who imports this one.
TOOL := go tool -modfile=tools/go.mod
# One PostgreSQL for the tests of all packages, and what else they need: see internal/testenv.
WITH := go run ./internal/testenv/with --
TEST := go test -timeout 20m -p 2

run:
	go run ./cmd/tocsin demo

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/tocsin ./cmd/tocsin

test:
	$(WITH) $(TEST) ./...

race:
	$(WITH) $(TEST) -race ./...

# Events while everything around fails, for some minutes: TORTURE_SEED=7 TORTURE_MINUTES=5 make torture does again what seed 7
# did. Without a seed it is another one each time. Of a run that fails the logs of the processes are kept in torture/.
TORTURE_SEED ?= 0
TORTURE_MINUTES ?= 5
torture:
	@mkdir -p torture
	$(WITH) go test -timeout 0 -count 1 -v -run '^TestTorture$$' -artifacts -outputdir $(CURDIR)/torture ./cmd/tocsin \
		-torture.seed $(TORTURE_SEED) -torture.minutes $(TORTURE_MINUTES)

bench:
	$(WITH) go test -timeout 60m -p 1 -run '^$$' -bench . -benchmem ./...

lint:
	$(TOOL) golangci-lint run

fmt:
	$(TOOL) golangci-lint fmt

tidy:
	go mod tidy -diff
	go -C tools mod tidy -diff

# deadcode tells what no program and no test reaches, and exits with 0 all the same. Examples without an output are only
# compiled.
deadcode:
	@found=$$($(TOOL) deadcode -test ./... | grep -v 'unreachable func: Example'); \
	if [ -n "$$found" ]; then echo "$$found"; echo "deadcode: the above is reached by nothing"; exit 1; fi

vuln:
	$(TOOL) govulncheck ./...

# The vulnerabilities come last: their database is on the network.
verify: tidy lint deadcode race vuln
