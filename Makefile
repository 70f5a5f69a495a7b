# The commands of this repository. `make` alone lists them. The programs are in scripts/.
SHELL := bash
.SHELLFLAGS := -e -u -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory --warn-undefined-variables
.DEFAULT_GOAL := help
.NOTPARALLEL:

# make roll SERVICE=asgi (default: all); soak SOAK_MINUTES=5; storms STORM_CLIENTS=5000; test ARGS="-k nginx -x"; dev ARGS=8001
SERVICE ?=
SOAK_MINUTES ?= 30
STORM_CLIENTS ?= 2000
ARGS ?=

##@ The stack (settings: .env, or the command line: make up HTTP_PORT=8081)
up: ## Start the site; install what is missing
down: ## Stop the site; its data stays
logs: ## Follow the services' logs, from the last 100 lines
roll: ## Replace containers one by one; SERVICE=asgi: only those
	@scripts/roll $(SERVICE)
doctor: ## Check the running site; ARGS=--quiet: not what passed
password: ## Print the administrator's password
certificate: ## Use a renewed certificate (TLS=own); print it
base: ## Build or refresh the base image from Debian's packages
clean: ## Remove everything: data, containers, images, lines in .env
init: ## Add the stack's lines to a project: make init SITE=…
dev: ## Run the site without Docker, on SQLite, for development

##@ Checks (in the image sluice-tests, except quick; results in results/)
quick: ## Style, imports, tests without servers; no Docker
lint: ## Ruff, mypy, imports, ShellCheck, Dockerfiles, JavaScript
	@scripts/in-tests scripts/lint
test: ## Unit and configuration tests
	@scripts/in-tests --with-images scripts/unit-tests $(ARGS)
e2e: ## Start the stack and test what it promises
	@scripts/in-tests --with-images pytest --junit-xml=/results/e2e.xml tests/e2e $(ARGS)
packages: ## Build the wheels into dist/, test them in a clean venv
docs: ## Build the documentation as a site, into results/docs
	@scripts/in-tests --for-docs mkdocs build --site-dir /results/docs
layer: ## Test the channel layer and the stock one on RabbitMQ
	@scripts/in-tests --with-images pytest --junit-xml=/results/layer.xml packages/sluice-layer/tests $(ARGS)
layer-versions: ## Test the layer with each Python, Channels and RabbitMQ
asgi-servers: ## Stop each other ASGI server under updates' clients
	@scripts/in-tests pytest -rP --junit-xml=/results/asgi-servers.xml tests/asgi_servers $(ARGS)
package-versions: ## Test packages on each Python, Django, PostgreSQL
faults: ## Break the stack under load, and count lost updates
	@scripts/in-tests --with-images pytest -rP --junit-xml=/results/faults.xml tests/faults $(ARGS)
browser: ## Chromium: updates.js under faults, and the site
	@scripts/in-tests --with-images --with-browser pytest --junit-xml=/results/browser.xml tests/browser $(ARGS)
storms: ## All clients come back at once; clients that misbehave
	@scripts/in-tests --with-images --with-load-client env STORM_CLIENTS=$(STORM_CLIENTS) pytest -rP --junit-xml=/results/storms.xml tests/storms $(ARGS)
rolling: ## `make roll` of each service under load
	@scripts/in-tests --with-images pytest -rP --junit-xml=/results/rolling.xml tests/roll $(ARGS)
soak: ## 300 clients and a fault a minute, for SOAK_MINUTES
	@scripts/in-tests --with-images env SOAK_MINUTES=$(SOAK_MINUTES) pytest --junit-xml=/results/soak.xml tests/soak $(ARGS)
bare-metal: ## Follow the guide for hosts on Debian 12 and 13; test it
monitoring: ## Prometheus, its alerts and who may see it
	@COMPOSE_PROFILES=monitoring scripts/in-tests --with-images pytest --junit-xml=/results/monitoring.xml tests/monitoring $(ARGS)
guests: ## Other Django projects in the stack, by their guide
	@scripts/in-tests --with-images pytest -rP --junit-xml=/results/guests.xml tests/guests $(ARGS)
bench: ## Measure the push and its peers; ARGS="--only storms"
	@scripts/in-tests --with-images --for-bench scripts/measure $(ARGS)
figures: ## Write what make bench measured into the documentation

up down logs doctor password certificate base clean init dev quick packages layer-versions package-versions bare-metal figures:
	@scripts/$@ $(ARGS)

##@ About
help: ## Print this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: up down logs roll doctor password certificate base clean dev quick lint test e2e packages docs layer layer-versions package-versions asgi-servers faults browser storms rolling soak bare-metal monitoring bench figures init guests help
