# The doors of this project; `make help` lists them. Everything lands in .venv and node_modules.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Debian keeps nginx in /usr/sbin, which is not on everybody's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

BIN := .venv/bin
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
NODE_MODULES := tests/integration/node_modules
CLIENT := client/node_modules/.built
NEXTJS_MODULES := examples/nextjs/node_modules
NESTJS_MODULES := bench/targets/nestjs/node_modules
HELM := .tools/bin/helm
KAFKA := bench/harness/kafka/lib/.installed
SECRETS := secrets
SBOM := sbom.cdx.json
NCHAN := /usr/lib/nginx/modules/ngx_nchan_module.so

# Options of `sse-node serve`, of pytest and of `python -m bench`: make run ARGS="--port 3001"
ARGS ?=

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name does; do \
		printf 'make %-12s %s\n' "$$name" "$$does"; done

.PHONY: run
run: .venv/.runs  ## start a node with a private Valkey; Ctrl-C ends it
	@exec $(BIN)/python -c "$$in_foreground" $(BIN)/python -m sse_node serve $(ARGS)

# Runs a program alone in the terminal's foreground. Ctrl-C then reaches the program and not make, which
# would call a stop that went well an error. Without a terminal the program takes this one's place.
define in_foreground
import contextlib, os, signal, subprocess, sys

try:
    has_terminal = os.tcgetpgrp(0) == os.getpgrp()
except OSError:
    has_terminal = False
if not has_terminal:
    os.execv(sys.argv[1], sys.argv[1:])
# Ignored here, so in the program too: it cannot be suspended, and this one may take the terminal back.
for ignored in (signal.SIGTSTP, signal.SIGTTOU):
    signal.signal(ignored, signal.SIG_IGN)
program = subprocess.Popen(sys.argv[1:], process_group=0)
for passed_on in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(passed_on, lambda *_: program.terminate())
os.tcsetpgrp(0, program.pid)
status = program.wait()
with contextlib.suppress(OSError):
    os.tcsetpgrp(0, os.getpgrp())
sys.exit(status)
endef
export in_foreground

# Tests that mostly wait, or have no tight deadlines. `make test` runs them after the unit tests; both run beside the other
# integration tests, at the lowest priority.
PATIENT := $(patsubst %,tests/integration/test_%.py,proxies packages bridge_acl bridge_amqp bridge_kafka bridge_chaos \
	client_package example_nextjs migration copy_shards deploying_document documents redis_acl redis_tls)

# Compiles first: where PYTHONDONTWRITEBYTECODE is set, as in many images, every program that a test starts would do it again.
.PHONY: test
test: peers $(NODE_MODULES)/.installed $(CLIENT) $(NEXTJS_MODULES)/.installed $(HELM)  ## check, and every test there is
	@$(BIN)/python -m compileall -q sse_node bench tests
	@$(call timed,lint,$(MAKE) lint)
	@$(call timed,tests of the npm package,npm test --prefix client)
	@log=$$(mktemp); set -m; ( renice -n 19 "$$BASHPID" >/dev/null; \
		$(call timed,unit tests,$(BIN)/python -m pytest --cov --cov-report=term --ignore=tests/integration $(ARGS)); \
		$(call timed,tests that wait,$(BIN)/python -m pytest $(PATIENT) $(ARGS)) ) </dev/null >"$$log" 2>&1 & \
	beside=$$!; set +m; trap 'kill -- "-$$beside" 2>/dev/null || :; rm -f "$$log"' EXIT; failed=0; \
	$(call timed,integration tests,$(BIN)/python -m pytest tests/integration $(PATIENT:%=--ignore=%) $(ARGS) || failed=1); \
	wait "$$beside" || failed=1; \
	cat "$$log"; exit "$$failed"

.PHONY: test-client
test-client: .venv/.develops $(CLIENT) $(NEXTJS_MODULES)/.installed $(NESTJS_MODULES)/.installed  ## the npm package: its own tests, then nodes with Chromium and Firefox
	@npm test --prefix client
	@$(BIN)/python -m pytest tests/integration/test_{client_*,example_nextjs,migration}.py $(ARGS)

.PHONY: test-deploy
test-deploy: .venv/.develops test-servers $(HELM)  ## the Helm chart, systemd units, proxies, packages
	@$(BIN)/python -m pytest tests/deploy tests/integration/test_{systemd,proxies,packages,deploying_document}.py $(ARGS)

# Helm renders the chart in the tests. Built once, in about a minute; needs Go 1.25 or later.
$(HELM): | test-servers
	@echo "building Helm" >&2
	@GOBIN="$(CURDIR)/.tools/bin" go install helm.sh/helm/v3/cmd/helm@v3.22.0

.PHONY: client-types
client-types: .venv/.develops  ## write the npm package's types of the API, after a change of it
	@$(BIN)/python -m sse_node.documents.typescript >client/src/api.ts.new
	@mv client/src/api.ts.new client/src/api.ts

# Prints what runs and how long it took: $(call timed,name,command).
timed = echo "== $(1)"; start=$$SECONDS; $(2); echo "== $(1): $$((SECONDS - start)) s"

.PHONY: test-pythons
test-pythons:  ## the unit tests on every Python from 3.11 to 3.14 that is installed
	@for python in python3.11 python3.12 python3.13 python3.14; do \
		if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then echo "== $$python: not installed"; continue; fi; \
		$(MAKE) ".venv-$$python/.develops"; \
		echo "== $$python"; \
		".venv-$$python/bin/python" -m pytest --ignore=tests/integration -m "not integration" --quiet $(ARGS); \
	done

.PHONY: check
check: .venv/.develops lint  ## format, lint, types and unit tests
	@$(BIN)/python -m pytest --ignore=tests/integration -m "not integration" --quiet $(ARGS)

.PHONY: lint
lint: .venv/.develops
	$(BIN)/python -m ruff format --check --quiet .
	$(BIN)/python -m ruff check --quiet .
	$(BIN)/python -m mypy

.PHONY: bench
bench: .venv/.develops  ## the benchmarks; make bench ARGS=fanout runs one of them
	@$(BIN)/python -m bench $(ARGS)

.PHONY: peers
peers: .venv/.develops test-servers $(KAFKA) $(NESTJS_MODULES)/.installed  ## install the servers to compare with

.PHONY: up
up: $(SECRETS)  ## Valkey, two nodes and nginx on port 8080 with docker compose
	docker compose up --build

# What docker-compose.yml mounts: the secret of tokens, and a key with its line for the nodes. The containers'
# user reads the files, so they are readable; nobody else enters the directory.
$(SECRETS): | .venv/.runs
	@rm -rf $@.new; mkdir -m 700 $@.new; umask 022; \
	$(BIN)/python -c 'import secrets; print(secrets.token_hex(32))' >$@.new/jwt-key; \
	key=$$($(BIN)/sse-node key backend --may "publish:* read:accounts write:accounts webhooks observe revoke"); \
	head -n 1 <<<"$$key" >$@.new/api-key; tail -n 1 <<<"$$key" >$@.new/api-keys
	@mv $@.new $@

.PHONY: sbom
sbom: .venv/.develops  ## write sbom.cdx.json, the Python packages of the image, as CycloneDX
	@$(BIN)/python -W ignore::UserWarning -m cyclonedx_py requirements constraints-all.txt --pyproject pyproject.toml --output-reproducible \
		--output-file $(SBOM)

.PHONY: lock
lock: $(BIN)/pip  ## adapt the three constraints files to pyproject.toml; ARGS=--upgrade renews all
	@tool=$$(mktemp -d); trap 'rm -rf "$$tool"' EXIT; \
	$(BIN)/python -m pip install --quiet --target "$$tool" uv; \
	lock() { file=$$1; shift; \
		cp "$$file" "$$tool/lock"; \
		"$$tool/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
			--no-emit-index-url --no-emit-find-links --output-file "$$tool/lock" $(ARGS) "$$@" pyproject.toml >/dev/null; \
		{ echo "# Every package by version and hash, for Python 3.11 to 3.14; \`make lock\` makes it."; \
			cat "$$tool/lock"; } >"$$file"; }; \
	lock constraints.txt --group build; \
	lock constraints-all.txt --constraints constraints.txt --all-extras; \
	lock constraints-dev.txt --constraints constraints-all.txt --constraints constraints.txt \
		--all-extras --group build --group test --group check --group bench --group peers

# What a node needs to run. The file is a stamp: installed again only when these change.
.venv/.runs: constraints.txt pyproject.toml | $(BIN)/pip
	@echo "installing into .venv" >&2
	@$(call install,constraints.txt)
	@touch $@

# What tests, checks and benches need; constraints-dev.txt holds all of constraints.txt.
.venv/.develops: constraints-dev.txt constraints.txt pyproject.toml | $(BIN)/pip
	@echo "installing into .venv, with what the tests need" >&2
	@$(call install,constraints-dev.txt)
	@touch $@ .venv/.runs

.venv-%/.develops: constraints-dev.txt constraints.txt pyproject.toml
	@echo "installing into .venv-$*" >&2
	@$* -m venv --clear .venv-$*
	@$(subst $(BIN),.venv-$*/bin,$(call install,constraints-dev.txt))
	@touch $@

# $(call install,LOCK FILE). The lock is whole, so pip shall not look for more: it takes `coverage[toml]`
# for a package that is not in the lock as soon as there is a newer one.
define install
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement $(1); \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	$(BIN)/python -m pip check
endef

# pip is the last thing that venv makes: where it is, the rest is.
$(BIN)/pip:
	@find() { for python in $(PYTHONS); do \
		"$$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null && return; done; \
		echo "no Python >= 3.11 found (looked for $(PYTHONS))" >&2; return 1; }; \
	find; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { missing=" python3-venv"; $(apt-install); }; \
	"$$python" -m venv --clear .venv

%/node_modules/.installed: %/package.json %/package-lock.json | test-servers
	@npm ci --prefix $* --silent
	@touch $@

$(KAFKA): bench/harness/kafka/pom.xml | test-servers
	@rm -rf $(@D)
	@mvn --batch-mode --quiet --file $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=lib
	@touch $@

$(CLIENT): $(wildcard client/src/*) client/tsconfig.json client/node_modules/.installed
	@npm run build --prefix client --silent
	@touch $@

# It has a copy of the npm package.
$(NEXTJS_MODULES)/.installed: $(CLIENT)

.PHONY: test-servers
test-servers:
	@missing=; for need in redis-server nginx chromium firefox-esr node:nodejs npm cc:build-essential strace php:php-cli go:golang-go \
		systemd-analyze:systemd tini haproxy caddy apache2 java:openjdk-17-jre-headless mvn:maven rabbitmq-server; do \
		command -v "$${need%:*}" >/dev/null || missing+=" $${need#*:}"; done; \
	[ -e $(NCHAN) ] || missing+=" libnginx-mod-nchan"; \
	[ -z "$$missing" ] || { $(apt-install); }

# Installs the Debian packages in $missing where it may, else says what to type. policy-rc.d keeps the
# services of these packages from starting: the tests start servers of their own, on ports of their own.
define apt-install
	root=no; if [ "$$(id -u)" = 0 ]; then root=; elif sudo -n true 2>/dev/null; then root="sudo -n"; fi; \
	if [ "$$root" = no ] || ! command -v apt-get >/dev/null; then \
		echo "not found:$$missing. Install with:" >&2; \
		echo "  sudo apt-get update && sudo apt-get install --yes --no-install-recommends$$missing" >&2; exit 1; fi; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e "$$policy" ]; then trap "$$root rm -f $$policy" EXIT; \
		printf '#!/bin/sh\nexit 101\n' | $$root tee "$$policy" >/dev/null; $$root chmod +x "$$policy"; fi; \
	echo "installing with apt-get:$$missing" >&2; \
	$$root apt-get update -qq; \
	$$root env DEBIAN_FRONTEND=noninteractive \
		apt-get install --yes -qq --no-install-recommends $$missing >/dev/null
endef
