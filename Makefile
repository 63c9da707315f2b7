# Weft's commands. Nothing but Go, make and git is needed; what a target lacks beyond that it installs with apt-get.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

export CGO_ENABLED := 0
BIN := bin
# The toolchain records the revision in the binary, where git lets it read the checkout.
BUILDVCS := $(shell git status --porcelain >/dev/null 2>&1 && echo true || echo false)
FUZZTIME ?= 30s
# Arguments of the benchmark, see benchmarks/compare: make bench ARGS="-rounds 5 -seconds 10"
ARGS ?=
# The packages with Go benchmarks of the datapath. flowtable's loading of millions of rules is not of it, and takes minutes.
BENCHED := ./internal/packet ./internal/sys ./flowtable/flow ./flowtable/classifier ./flowtable ./vhostuser/... \
	./pmd ./pmd/memport ./switch ./benchmarks/instructions
BENCH ?= Benchmark(Window|Signal|Extract|Exact|Lookup|Classify|Revalidate|Meter|Receive|Transmit|Driver|Iteration|Forward|LearnAndLookup|Process|Loop)$$
BENCHTIME ?= 0.3s
COUNT ?= 6
# Twice what the slowest of its tests may take by itself.
E2E_TIMEOUT ?= 16m
# The first run installs a Debian 13 for the guests, which may take most of this.
I40E_TIMEOUT ?= 20m

.PHONY: help build build-i40esim demo demo-stop test test-fast test-e2e test-i40e race lint fuzz fuzz-flow bench bench-quick \
	bench-stress bench-instructions bench-go generate clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the static binary bin/weft
	@mkdir -p $(BIN)
	go build -trimpath -buildvcs=$(BUILDVCS) -ldflags '-s -w' -o $(BIN)/weft ./cmd/weft

build-i40esim: ## Build bin/weft-i40esim, which serves models of the I40E card to qemu
	@mkdir -p $(BIN)
	go build -trimpath -buildvcs=$(BUILDVCS) -ldflags '-s -w' -o $(BIN)/weft-i40esim ./cmd/weft-i40esim

demo: build ## Two virtual machines and a wire, pinging each other through Weft (root; KEEP=1 leaves it running)
	@go build -o $(BIN)/demo ./internal/e2e/demo
	@exec $(BIN)/demo -weft $(BIN)/weft

demo-stop: ## Stop what "make demo KEEP=1" left running
	@go build -o $(BIN)/demo ./internal/e2e/demo
	@exec $(BIN)/demo stop

test: lint ## Run every test: unit, rings, switch, and end to end with qemu and DPDK (root)
	@status=0; \
	go test ./... || status=1; \
	$(MAKE) --no-print-directory test-e2e || status=1; \
	exit $$status

test-fast: lint ## Run the tests that need neither root nor qemu
	go test ./...

test-e2e: ## Run the end-to-end tests alone (root)
	go test -tags e2e -count=1 -p=1 -timeout $(E2E_TIMEOUT) ./internal/e2e/...

test-i40e: ## Run the Linux and DPDK drivers on the I40E device model, with qemu 11 in a Debian 13 of its own (root)
	go test -tags i40e -count=1 -v -timeout $(I40E_TIMEOUT) ./internal/e2e/i40e

race: ## Run the fast tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./...

lint: ## gofumpt, go vet and staticcheck, over every build tag
	@unformatted="$$(go tool gofumpt -l .)"; \
	if [ -n "$$unformatted" ]; then echo "not formatted as gofumpt does (go tool gofumpt -w .):"; echo "$$unformatted"; exit 1; fi
	go vet -tags e2e,i40e ./...
	go tool staticcheck -tags e2e,i40e ./...

fuzz: ## Run each fuzzer for FUZZTIME (30s)
	@for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "== $$pkg $$f"; \
			go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; \
	done

fuzz-flow: ## Compare random rules and packets with Open vSwitch's verdict for FUZZTIME (30s; root, to install it)
	FLOWDIFF_TIME=$(FUZZTIME) go test -count=1 -v -timeout 0 -run 'Weft|Caches' ./internal/flowdiff

bench: build ## Compare throughput with Open vSwitch and testpmd in every scenario (root; ARGS="-scenarios 64,acl")
	@go build -o $(BIN)/compare ./benchmarks/compare
	@exec $(BIN)/compare -weft $(BIN)/weft $(ARGS)

bench-quick: build ## One round of the scenarios that tell most, in two minutes (root)
	@go build -o $(BIN)/compare ./benchmarks/compare
	@exec $(BIN)/compare -weft $(BIN)/weft -scenarios quick -rounds 1 -seconds 3 $(ARGS)

bench-stress: build ## New flows, attacks on the classifier, millions of rules, rule changes under load (root; ARGS="-quick")
	@go build -o $(BIN)/stress ./benchmarks/stress
	@exec $(BIN)/stress -weft $(BIN)/weft $(ARGS)

bench-instructions: ## Count a packet's instructions, one by one, and list the functions they are in (ARGS="-scenarios 64 -lines")
	@mkdir -p $(BIN)
	@go build -o $(BIN)/instructions ./benchmarks/instructions
	@exec $(BIN)/instructions $(ARGS)

bench-go: ## Go benchmarks of the datapath's parts COUNT (6) times, for benchstat; BENCH selects (make -s bench-go > new.txt)
	@go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -count $(COUNT) $(BENCHED)

generate: ## Run the code generators; afterwards git diff shows nothing
	go generate ./...

clean: ## Remove what was built
	rm -rf $(BIN)
