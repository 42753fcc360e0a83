# Everything this project can be asked to do. `make` alone lists it.

MILLRACE := cargo run --bin millrace --
SAM_HOME := $(CURDIR)/.millrace/home

.DEFAULT_GOAL := help
.PHONY: help up up-localstack dev down status demo logs template new-worker build deploy check test test-unit test-infra test-e2e prove test-dev test-api test-cdk synth bench-cold bench-cost bench-letters lint-infra deny advisories

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Install tools, build, start engine and mailbox, deploy, make an API key
	@$(MILLRACE) local up

dev: ## As `up`, but with the functions run from their sources: edit one, its next call runs it. Until Ctrl-C
	@$(MILLRACE) local dev

# LocalStack's endpoint, and the gateway of its containers' network: infra/local/compose.yaml says both.
ENDPOINT ?= http://127.0.0.1:4566
GATEWAY ?= 172.31.87.1
COMPOSE := docker compose --file infra/local/compose.yaml
up-localstack: ## As `up`, on LocalStack in Docker instead of the engine: see the README for what differs
	@docker compose version >/dev/null 2>&1 || { echo "LocalStack needs Docker with its compose plugin, which is not here. \`make up\` needs none."; exit 1; }
	@$(COMPOSE) up --detach --wait
	@$(MILLRACE) local up --endpoint $(ENDPOINT) --ses-address $(GATEWAY)

down: ## Stop what `make up` or `make up-localstack` started; what LocalStack held is gone, all else stays in .millrace/
	@$(MILLRACE) local down
	@if test -n "$$($(COMPOSE) ps --quiet 2>/dev/null)"; then $(COMPOSE) down; fi

status: ## Show what runs
	@$(MILLRACE) local status

demo: up ## Show it all: a welcome mail, and a newsletter to 1,200 readers
	@$(MILLRACE) demo

logs: ## Show what the functions logged; FN=api for one of them, FN=engine, FN=mailbox
	@$(MILLRACE) local logs $(FN)

template: ## Render infra/template.yaml from infra/functions.json and infra/template/
	@$(MILLRACE) infra render

new-worker: ## Write a worker for a new kind of job; NAME=resize-image
	@$(MILLRACE) new-worker $(NAME)

# Named one by one: cargo-lambda would take the command line and the mailbox for functions too.
ARCH ?= arm64
build: ## Build the functions as they are deployed; ARCH=x86-64 for the other processor
	@$(MILLRACE) local tools
	PATH="$(CURDIR)/.millrace/tools/bin:$$PATH" cargo lambda build --release --$(ARCH) \
		$(patsubst functions/%/Cargo.toml,--bin %,$(wildcard functions/*/Cargo.toml))

# Guided as long as samconfig.toml does not know whose mails the stage sends.
STAGE ?= dev
SAMCONFIG := $(CURDIR)/infra/samconfig.toml
deploy: build ## Deploy to AWS; STAGE=dev or prod. The first time it asks for the parameters
	@sed -n '/^\[$(STAGE)\./,/^\[/p' $(SAMCONFIG) | grep -q . || { echo "infra/samconfig.toml knows no stage $(STAGE)"; exit 1; }
	cd infra && ../.millrace/tools/bin/sam deploy --config-file $(SAMCONFIG) --config-env $(STAGE) \
		$(shell sed -n '/^\[$(STAGE)\./,/^\[/p' $(SAMCONFIG) | grep -q Sender= || echo --guided)

check: ## Format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --test e2e -- -D warnings

# Side by side is what keeps one core busy and another idle: installing and linting beside tests, one small stack beside another.
test: ## All tests; installs what they need
	$(MAKE) --jobs=2 test-unit test-infra
	$(MAKE) test-e2e
	$(MAKE) --jobs=2 test-api bench-cost

test-infra: lint-infra
	@$(MAKE) test-cdk

test-unit: ## Unit, property and in-memory tests
	cargo test --workspace

# What a killed process had in hand comes again after the visibility timeout; events are waited for longer than that.
test-e2e: infra/cdk/node_modules/.installed ## Tests on a stack of their own, beside a running `make up`
	@$(MILLRACE) local exec --state-dir .millrace/test --name millrace-test --free-ports --proxy \
		--param WorkerTimeout=10 --param VisibilityTimeout=15 --param SettleSeconds=20 --param EventBus=default \
		-- cargo test --workspace --test e2e

test-dev: ## `make dev` in a copy of the project: a handler is edited, the next job runs the new code. Not part of `make test`
	@$(MILLRACE) local tools
	cargo test --workspace --test dev

prove: ## What `make test` does with fewer: campaigns to a million at three rates, a list of a million lines. An hour or more
	MILLRACE_READERS=1000000 cargo test --workspace --bin newsletter million
	MILLRACE_LINES=1000000 cargo test --workspace --lib long_list

SEED ?= 1
test-api: ## The API driven by its own document, with good and bad requests; SEED=1 repeats them
	@$(MILLRACE) local tools --also schemathesis
	@$(MILLRACE) local exec --state-dir .millrace/api --name millrace-api --free-ports -- sh -c \
		'.millrace/schemathesis/bin/schemathesis --config-file tests/schemathesis.toml run --seed $(SEED) \
		--url "$$MILLRACE_API_URL" "$$MILLRACE_API_URL/v1/openapi.json"'

# The CDK has a Node.js and a cache of its own, as all tools here.
NODE := PATH="$(CURDIR)/.millrace/cdk/bin:$$PATH" npm_config_cache="$(CURDIR)/.millrace/npm" npm_config_update_notifier=false
infra/cdk/node_modules/.installed: infra/cdk/package-lock.json infra/local/cdk.txt
	@$(MILLRACE) local tools --also cdk
	cd infra/cdk && $(NODE) npm ci --no-audit --no-fund
	@touch $@

CDK ?= -c sender=news@example.com
synth: infra/cdk/node_modules/.installed ## Synthesise the CDK stack; CDK="-c sender=me@example.com -c stage=prod"
	cd infra/cdk && $(NODE) npm run --silent synth -- $(CDK)

test-cdk: infra/cdk/node_modules/.installed ## The CDK stack: the same as the SAM template, and what cdk-nag says
	cd infra/cdk && $(NODE) npm test --silent

bench-cost: ## Count what each path of a job costs at AWS, and hold it to bench/cost/contract.json
	@$(MILLRACE) local exec --state-dir .millrace/cost --name millrace-cost --free-ports --proxy \
		-- cargo run --quiet --bin bench-cost
PROFILE ?= release
bench-cold: ## What functions need before their first event, times a function that does nothing; PROFILE=dev is quick to build
	cargo build --workspace --bins --profile $(PROFILE)
	@$(MILLRACE) local exec --state-dir .millrace/cold --name millrace-cold --free-ports \
		-- cargo run --quiet --profile $(PROFILE) --bin bench-cold

bench-letters: ## How fast letters are personalised
	cargo bench --workspace --bench letters

# What `millrace local up --endpoint` chooses; cfn-lint looks at that variant by itself, too.
LOCALSTACK := Emulator=localstack PublicUrl=http://127.0.0.1:9000/lambda-url/api MailEndpoint=http://172.31.87.1:4567
lint-infra: ## cfn-lint, sam validate and checkov
	@$(MILLRACE) local tools --also lints
	.millrace/tools/bin/cfn-lint infra/template.yaml
	.millrace/tools/bin/cfn-lint infra/template.yaml --parameters Sender=news@example.com $(LOCALSTACK)
	@mkdir -p $(SAM_HOME)
	HOME=$(SAM_HOME) SAM_CLI_TELEMETRY=0 .millrace/tools/bin/sam validate --lint --region us-east-1 \
		--template infra/template.yaml
	LOG_LEVEL=ERROR .millrace/lints/bin/checkov --config-file infra/checkov.yaml --file infra/template.yaml

deny: ## Licences and sources of the dependencies
	@$(MILLRACE) local tools --also lints
	.millrace/lints/bin/cargo-deny --locked check licenses bans sources

advisories: ## Known faults of the dependencies; fetches the database of RustSec from GitHub
	@$(MILLRACE) local tools --also lints
	.millrace/lints/bin/cargo-deny --locked check advisories
