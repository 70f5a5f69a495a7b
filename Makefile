# What one does with Sluice. `make` alone lists it; the work is in scripts/, one concern a file.
SHELL := bash
.SHELLFLAGS := -e -u -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory --warn-undefined-variables
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# make roll SERVICE=asgi (without it, the whole application); make soak SOAK_MINUTES=5
SERVICE ?=
SOAK_MINUTES ?= 30
# Given to pytest as it is: make test ARGS="-k nginx -x"; to the doctor; to `make dev` a port: make dev ARGS=8001
ARGS ?=

##@ The stack (settings: .env, or on the command line, as in `make up HTTP_PORT=8081`)
up: ## Start the site; on a fresh machine, first see to what is missing
	@scripts/up
down: ## Stop the site; its data stays
	@scripts/down
logs: ## Follow what the services write, from the last 100 lines on
	@scripts/logs
roll: ## Take up a new version, or new settings, container by container; with SERVICE=asgi of one service
	@scripts/roll $(SERVICE)
doctor: ## Say what is wrong with the site that runs here, and what to change; ARGS=--quiet leaves out what is right
	@scripts/doctor $(ARGS)

password: ## Print the administrator's password
	@scripts/password
certificate: ## Take up a renewed certificate (TLS=own) without a restart; print the one in use
	@scripts/certificate

base: ## Build or refresh the base image from Debian's packages (where no registry answers)
	@scripts/base
clean: ## Remove all that was made: containers, data, networks, images, the lines in .env
	@scripts/clean

dev: ## The site on SQLite without Docker, push included, for development
	@scripts/dev $(ARGS)

##@ Checks (each but quick in the image sluice-tests; results in results/)
quick: ## Without Docker, in a minute: style, imports, tests without a server
	@scripts/quick

lint: ## Ruff, mypy, ShellCheck, Dockerfiles, JavaScript's syntax and types
	@scripts/in-tests scripts/lint

test: ## Unit and configuration tests
	@scripts/in-tests --with-images scripts/unit-tests $(ARGS)

e2e: ## Boot the stack and prove that it does what it says
	@scripts/in-tests --with-images pytest --junit-xml=/results/e2e.xml tests/e2e $(ARGS)

packages: ## Build the wheels into dist/, and check them in an empty environment
	@scripts/packages $(ARGS)

layer: ## The channel layer: each defect of the stock class, and its cure, on a real RabbitMQ
	@scripts/in-tests --with-images pytest --junit-xml=/results/layer.xml packages/sluice-layer/tests $(ARGS)
layer-versions: ## The same on each Python, Channels and RabbitMQ that the layer is for, into a table
	@scripts/layer-versions $(ARGS)

faults: ## Break a stack while writers write and clients listen, and count what was lost
	@scripts/in-tests --with-images pytest -rP --junit-xml=/results/faults.xml tests/faults $(ARGS)

browser: ## A real Chromium: updates.js under every fault, and the site as people use it
	@scripts/in-tests --with-images --with-browser pytest --junit-xml=/results/browser.xml tests/browser $(ARGS)

rolling: ## `make roll` of each service while writers write and clients listen
	@scripts/in-tests --with-images pytest -rP --junit-xml=/results/rolling.xml tests/roll $(ARGS)

soak: ## 300 clients come and go, with a fault a minute, for SOAK_MINUTES
	@scripts/in-tests --with-images env SOAK_MINUTES=$(SOAK_MINUTES) pytest --junit-xml=/results/soak.xml tests/soak $(ARGS)

bare-metal: ## Follow the guide for a host on plain Debian 12 and 13, and prove the same there
	@scripts/bare-metal $(ARGS)

bench: ## Measure the README's figures
	@scripts/in-tests --with-images pytest --junit-xml=/results/bench.xml tests/bench $(ARGS)

##@ About
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: up down logs roll doctor password certificate base clean dev quick lint test e2e packages layer layer-versions faults browser rolling soak bare-metal bench help
