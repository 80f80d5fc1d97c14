# phenoloom: `make demo` runs the demo study, `make test` the tests; both build what they need first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CORES ?= $(shell nproc 2>/dev/null || echo 2)
STUDY ?= config/config.yaml
TARGET ?= all
PROFILE ?=
BUILD = sh workflow/envs/build.sh
MAIN = env="$$($(BUILD) main cellprofiler)"; export PATH="$$env/bin:$$PATH" PYTHONPATH="$(CURDIR)/workflow/lib"
# A site's profile may ask for Snakemake's Slurm plugin, which lies beside the main environment.
PLUGINS = plugins="$$($(BUILD) slurm)"; export PYTHONPATH="$$plugins/lib/python3.11/site-packages:$$PYTHONPATH"
WHERE = $(if $(PROFILE),--workflow-profile '$(PROFILE)',--cores $(CORES))
# What continues a run that stopped: this command again.
RUN = $(MAIN); $(if $(PROFILE),$(PLUGINS);) \
	export PHENOLOOM_COMMAND="make $@ $(if $(filter demo,$@),,STUDY='$(STUDY)')$(if $(PROFILE), PROFILE='$(PROFILE)')"; \
	python -m phenoloom
LINT = lint="$$($(BUILD) lint)"; export PATH="$$lint/bin:$$PATH"

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: ## build the environments; the last line is the path of the main one
	@$(BUILD) main cellprofiler

demo: ## run the demo study and print where its report is
	@$(RUN) run config/config.yaml all $(WHERE)

prepare: ## fetch and index the images of STUDY
	@$(MAIN); python -m phenoloom prepare '$(STUDY)'

rate: ## measure how long the pipeline of STUDY takes per site, which sizes the jobs
	@$(MAIN); python -m phenoloom rate '$(STUDY)'

preflight: ## list everything wrong with the inputs of STUDY, and what it will cost
	@$(MAIN); python -m phenoloom run '$(STUDY)' preflight --cores $(CORES)

plan: ## say what the remaining jobs of STUDY will take: hours of CPU and GPU, memory, disk, time on CORES
	@$(RUN) plan '$(STUDY)' $(TARGET) --cores $(CORES)

run: ## run TARGET (default all) of STUDY, on this machine or with PROFILE=profiles/slurm
	@$(RUN) run '$(STUDY)' $(TARGET) $(WHERE)

retry: ## run again what the ledger of STUDY lists as lost and may succeed now, and what follows from it
	@$(RUN) retry '$(STUDY)' $(TARGET) $(WHERE)

dry-run: ## show what would run for STUDY
	@$(RUN) run '$(STUDY)' $(TARGET) $(WHERE) --dry-run --quiet rules

test: ## run the tests (under half an hour on 2 cores)
	@$(MAIN); python -m pytest -m "not slow and not cluster" --durations=10

test-full: ## run all tests, the long ones too
	@$(MAIN); python -m pytest --durations=20

test-slurm: ## run a small study on a Slurm of its own (as root on Debian; make test-full adds what it survives)
	@$(MAIN); python -m pytest tests/cluster -m "not slow" -rs

lint: ## check format and style
	@$(LINT); ruff check .; ruff format --check .; snakefmt --check Snakefile workflow/rules
	@$(MAIN); snakemake --lint

format: ## format the code
	@$(LINT); ruff check --fix .; ruff format .; snakefmt Snakefile workflow/rules

docs: ## write config/README.md from the schemas
	@$(MAIN); python -m phenoloom reference > config/README.md

.PHONY: help env demo prepare rate preflight run retry dry-run test test-full test-slurm lint format docs
