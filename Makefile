# Sluice. `make help` lists the verbs. Needs npm and any Node to install; everything then runs on the Node that package-lock.json names.
SHELL := /bin/sh
BIN := node_modules/.bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export NODE_OPTIONS := --disable-warning=ExperimentalWarning

.PHONY: help setup run test check types lint tidy generated generate format bench pack clean
.DEFAULT_GOAL := help

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: node_modules/.installed ## install what package-lock.json names, the Node binary included

node_modules/.installed: package-lock.json package.json
	@echo "installing dependencies (once)"
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

run: setup ## start Sluice standalone in the foreground: data in ./data, gRPC on 127.0.0.1:7650, HTTP on 127.0.0.1:7651
	@exec ./bin/sluice standalone $(ARGS)

test: setup ## run all tests; ONLY=path runs those below a path
	@mkdir -p .cache
	@rm -f .cache/test-results.json
	@vitest run $(ONLY) --reporter=default --reporter=json --outputFile.json=.cache/test-results.json; status=$$?; \
	node tools/test-summary.ts .cache/test-results.json || status=1; exit $$status

check: types lint tidy generated ## types, lint and formatting, import rules, generated files

types: setup
	@tsc -p .

lint: setup
	@biome check --error-on-warnings .

tidy: setup
	@node tools/tidy.ts

generated: setup
	@node tools/gen-config-docs.ts --check

generate: setup ## write the generated files again (reference pages and example files of the configuration)
	@node tools/gen-config-docs.ts

format: setup ## format the code
	@biome check --write .

bench: setup ## measure a standalone server on this machine: prints the table of docs/performance.md
	@node test/bench/run.ts $(ARGS)

pack: setup ## build the two npm packages, as JavaScript with types, into dist/
	@node tools/pack.ts

clean: ## remove what was built and installed; keeps ./data
	@rm -rf node_modules dist .cache
