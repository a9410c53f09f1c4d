.PHONY: run build test race torture fuzz lint fmt bench tidy generate openapi deadcode vuln verify screenshots

# Tools have a module of their own, so that importers of this one do not need their requirements.
TOOL := go tool -modfile=tools/go.mod
# One PostgreSQL for the tests of all packages, and what else they need: see internal/testenv.
WITH := go run ./internal/testenv/with --
# Most tests wait for something rather than compute: more of them run side by side than the machine has cores.
TEST := go test -timeout 20m -p 2 -parallel 4
# The longest come first, so that none of them runs alone at the end.
PACKAGES := ./cmd/tocsin ./web ./worker ./dbmodel ./...

run:
	go run ./cmd/tocsin demo

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/tocsin ./cmd/tocsin

test:
	$(WITH) $(TEST) $(PACKAGES)

race:
	$(WITH) $(TEST) -race -timeout 60m $(PACKAGES)

# Every fuzz target for a while, one after the other. "make fuzz FUZZTIME=1m" takes longer; FUZZ=Cursors selects the targets
# with that in their name.
FUZZTIME ?= 10s
fuzz:
	$(WITH) sh -c 'grep -ro --include="*_test.go" "^func Fuzz[A-Za-z]*$(FUZZ)[A-Za-z]*(f" . | sed "s/:func / /; s/(f//" | while read -r file name; do \
		echo "== $$file $$name"; go test "$$(dirname "$$file")" -run "^$$" -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s || exit 1; done'

# Events while everything around fails, for some minutes: TORTURE_SEED=7 TORTURE_MINUTES=5 make torture repeats the run of
# seed 7. Without a seed it draws one. The logs of the processes of a run that fails are kept in torture/.
TORTURE_SEED ?= 0
TORTURE_MINUTES ?= 5
torture:
	@mkdir -p torture
	$(WITH) go test -timeout 0 -count 1 -v -run '^TestTorture$$' -artifacts -outputdir $(CURDIR)/torture ./cmd/tocsin \
		-torture.seed $(TORTURE_SEED) -torture.minutes $(TORTURE_MINUTES)

# Tocsin beside others (see bench/), then the benchmarks of single packages. BENCH="-figures import -rounds 3" measures less,
# BENCH="-baseline path" another build in turn with this one.
BENCH ?= -json bench.json
bench: build
	go -C bench run . -binary $(CURDIR)/bin/tocsin $(BENCH)
	$(WITH) go test -timeout 60m -p 1 -run '^$$' -bench . -benchmem ./...

# The pictures of the README, of the demo in a browser.
screenshots:
	TOCSIN_SCREENSHOTS=$(CURDIR)/docs/screenshots $(WITH) go test -count 1 -run '^TestDemo$$' ./cmd/tocsin

# Beside tests, no Go file may have more than 400 lines.
lint:
	$(TOOL) golangci-lint run
	@git ls-files '*.go' ':!*_test.go' ':!*.gen.go' | \
		xargs awk 'FNR == 401 { print FILENAME ": more than 400 lines"; found = 1 } END { exit found }'

fmt:
	$(TOOL) golangci-lint fmt

tidy:
	go mod tidy -diff
	go -C tools mod tidy -diff
	go -C bench mod tidy -diff
	go -C examples/webtier mod tidy -diff

# The OpenAPI document, and the Go client's types.
generate:
	$(WITH) go test ./web -count 1 -run '^TestDocumentIsKept$$' -update
	go generate ./client

# Generators that the tests do not run make Go code of the OpenAPI document, and it compiles: see tools/generated.go.
openapi:
	@folder=$$(mktemp -d) && $(TOOL) ogen --loglevel error --target $$folder/ogen --clean client/openapi.json && \
		$(TOOL) oapi-codegen -generate types,client,std-http -package api -o $$folder/api.go client/openapi.json && \
		go build -modfile=tools/go.mod -o /dev/null $$folder/ogen/*.go && \
		go build -modfile=tools/go.mod -o /dev/null $$folder/api.go && \
		wc -l $$folder/ogen/*.go $$folder/api.go | tail -1 && rm -r $$folder

# deadcode lists the functions that no program and no test calls, and always exits with 0. Examples without an output are
# only compiled.
deadcode:
	@found=$$($(TOOL) deadcode -test ./... | grep -v 'unreachable func: Example'); \
	if [ -n "$$found" ]; then echo "$$found"; echo "deadcode: nothing calls the functions above"; exit 1; fi

vuln:
	$(TOOL) govulncheck ./...

# Everything that runs without a network: race runs the tests as test does.
verify: tidy lint openapi deadcode race
	@echo "verify: all is well, except for known vulnerabilities: their database is on the network, ask it with make vuln"
