# Each verb works alone on a fresh machine: .venv is made from the lock files first.
#
#   EXP=locnet        an experiment's name or .toml file (default: the demos)
#   DATA=DIR          where data sets lie (default: $COTRAIN_DATA or data)
#   PYTHON=python3.12 makes .venv (default: the first of python3.11, 3.12, 3.13)
#   ARGS='...'        more for the command: ARGS='--set train.epochs=1'

DEMO := demo-locnet demo-cae demo-digits
EXP ?= $(DEMO)
COTRAIN := .venv/bin/cotrain
OPTIONS = $(if $(DATA),--data '$(DATA)') $(ARGS)

export PYTHON
ifdef DATA
export COTRAIN_DATA := $(DATA)
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test data train finetune quantize deploy-emulator report submission bench silicon fuzz peer-tests lint docs

help: ## this list
	@echo 'make VERB [EXP=...] [DATA=DIR] [PYTHON=...] [ARGS=...]'; echo
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p; s/^## \([a-z-]*\): /\1 /p' Makefile | while read -r verb text; do printf '  %-16s %s\n' "$$verb" "$$text"; done
	@echo; sed -n 's/^#   /  /p' Makefile

setup: ## make .venv from the lock files (every verb does it first)
	@tools/make_venv.sh

demo: setup ## the demos from training to report; some minutes
	@$(COTRAIN) train $(DEMO) --until report $(ARGS)

## train: train the ANN of EXP
## finetune: fine-tune it: spikes forward, rate gradients backward
## quantize: place it on cores, as integers; check every limit
## report: write tables, figures, estimates as HTML, Markdown, JSON
## submission: pack what a lab needs to run the network on a board
train finetune quantize report submission: setup
	@$(COTRAIN) $@ $(EXP) $(OPTIONS)

deploy-emulator: setup ## score the ANN, NengoDL and emulated Loihi
	@$(COTRAIN) deploy $(EXP) $(OPTIONS)

data: setup ## download and verify the public data sets into DATA
	@$(COTRAIN) data $(OPTIONS)

test: setup ## run the tests, two files at a time
	@.venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

bench: setup ## measure the emulator's speed against nengo-loihi's
	@.venv/bin/python tests/benchmarks/bench.py $(ARGS)
	@.venv/bin/python tests/benchmarks/bench_waiting.py
	@.venv/bin/python -W ignore tests/benchmarks/bench_training.py

silicon: setup ## hold energy and time against measured chips
	@.venv/bin/python tools/silicon.py --data '$(if $(DATA),$(DATA),data)/loihi-silicon' $(ARGS)

fuzz: setup ## spoilt inputs, flipped bits, archives, networks, kills
	@.venv/bin/python -W ignore tests/fuzz/run_all.py $(ARGS)

peer-tests: setup ## NengoDL's and nengo-loihi's own test suites
	@.venv/bin/python tests/peer/nengo_dl_suite.py $(ARGS); nengo_dl=$$?; \
	.venv/bin/python tests/peer/nengo_loihi_suite.py $(ARGS) && exit $$nengo_dl

docs: setup ## the documentation as pages, build/docs/index.html
	@mkdir -p build/docs-source/cotrain
	@ln -sfn ../../../hardware build/docs-source/cotrain/hardware
	@ln -sfn ../../../pipeline build/docs-source/cotrain/pipeline
	@.venv/bin/python docs/pictures.py
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet
	@echo "docs: build/docs/index.html"

lint: setup ## errors, format and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@tools/types.sh
