# Each verb works alone on a fresh machine: .venv is made from the lock files first.
#
#   EXP=locnet        one experiment: locnet, cae, demo-locnet, demo-cae, demo-digits or a .toml file (default: the demos)
#   DATA=DIR          where the real data sets lie (default: $COTRAIN_DATA, else data)
#   PYTHON=python3.12 the interpreter for .venv (default: the first of python3.11, 3.12, 3.13 and python3 that serves)
#   ARGS='...'        more arguments for the command, such as ARGS='--set train.epochs=1' or ARGS='-k lif' for pytest

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

help:
	@sed -n 's/^#   /  /p' Makefile
	@echo "  verbs: setup demo test data train finetune quantize deploy-emulator report submission bench silicon fuzz peer-tests lint docs"

setup:
	@tools/make_venv.sh

demo: setup
	@$(COTRAIN) train $(DEMO) $(ARGS)
	@$(COTRAIN) finetune $(DEMO) $(ARGS)
	@$(COTRAIN) deploy $(DEMO) $(ARGS)
	@$(COTRAIN) report $(DEMO) $(ARGS)

train finetune quantize report submission: setup
	@$(COTRAIN) $@ $(EXP) $(OPTIONS)

deploy-emulator: setup
	@$(COTRAIN) deploy $(EXP) $(OPTIONS)

data: setup
	@$(COTRAIN) data $(OPTIONS)

test: setup
	@.venv/bin/python -m pytest $(ARGS)

bench: setup
	@.venv/bin/python tests/benchmarks/bench.py $(ARGS)

silicon: setup
	@.venv/bin/python tools/silicon.py --data '$(if $(DATA),$(DATA),data)/loihi-silicon' $(ARGS)

fuzz: setup
	@.venv/bin/python -W ignore tests/fuzz/run_all.py $(ARGS)

peer-tests: setup
	@.venv/bin/python tests/peer/nengo_dl_suite.py $(ARGS); nengo_dl=$$?; \
	.venv/bin/python tests/peer/nengo_loihi_suite.py $(ARGS) && exit $$nengo_dl

docs: setup
	@mkdir -p build/docs-source/cotrain
	@ln -sfn ../../../hardware build/docs-source/cotrain/hardware
	@ln -sfn ../../../pipeline build/docs-source/cotrain/pipeline
	@.venv/bin/python docs/pictures.py
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet
	@echo "docs: build/docs/index.html"

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@tools/types.sh
