# `make finetune TASK=stack_blocks` trains; `make test` runs lint, types and tests. Both run `make setup` first.
# `make docs` builds the documentation site.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/setup-done
CHECKED := $(VENV)/machine-checked
DOCS_STAMP := $(VENV)/docs-done
CPU_TORCH := torch==2.13.0+cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
WORKERS ?= 2

# The first Python from 3.11 to 3.13 that runs; PYTHON=... overrides it.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)

# One thread per process: two processes with one thread each beat one process with two.
export OMP_NUM_THREADS ?= 1

.PHONY: setup test finetune lint docs doctor clean task-named

setup: $(STAMP)
	@echo "Checking this machine"
	@$(BIN)/python -m aim_rl.doctor --install
	@touch $(CHECKED)

test: lint
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

finetune: task-named $(CHECKED)
	@echo "Starting Stage II of $(TASK); its plan follows in some seconds"
	@$(BIN)/python -m aim_rl.finetune --task $(TASK) $(ARGS)

task-named:
	@if [ -z "$(TASK)" ]; then echo "error: name a task, for example: make finetune TASK=stack_blocks"; exit 2; fi
	@if [ ! -e $(CHECKED) ]; then echo "First time here: set-up (a few minutes), then Stage II of $(TASK)"; fi

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# The site has the repository's own paths, so that links between its documents hold in both; warnings are errors.
docs: $(DOCS_STAMP)
	@rm -rf build/pages && mkdir -p build/pages/experiments
	@ln -s ../../{README,CONTRIBUTING,RELIABILITY,CHANGELOG}.md ../../docs build/pages
	@ln -s ../../../experiments/visibility.md build/pages/experiments
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f docs/mkdocs.yml
	@echo "The site is build/site/index.html"

doctor: $(STAMP)
	@$(BIN)/python -m aim_rl.doctor

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis

# Once: later the commands themselves say what is missing, and start ten seconds sooner.
$(CHECKED): $(STAMP)
	@$(MAKE) --no-print-directory setup

$(STAMP): pyproject.toml constraints.txt $(BIN)/pip
	@if [ -z "$$(ls -d /dev/nvidia[0-9]* 2>/dev/null)" ] && [ "$$(uname -m)" = x86_64 ]; then \
		echo "Installing PyTorch (CPU build: no NVIDIA GPU here)"; \
		$(PIP) install --no-deps "$(CPU_TORCH)" 2>/dev/null \
		|| $(PIP) install --no-deps --index-url https://download.pytorch.org/whl/cpu "$(CPU_TORCH)" \
		|| echo "The CPU build cannot be reached; PyPI's build follows, with several GB of CUDA libraries"; \
	fi
	@echo "Installing the pinned packages of constraints.txt (about a minute; several on a slow line)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	@echo "Installing what builds the documentation"
	@$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@

$(BIN)/pip:
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11, 3.12 or 3.13 found; install one (Debian, Ubuntu: apt-get install python3.11" \
			"python3.11-venv) or name it: make setup PYTHON=/path/to/python3"; exit 2; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		echo "Installing $$package, which Debian and Ubuntu keep apart from Python"; \
		log=$$(mktemp); \
		if ! { $$root apt-get update && $$root apt-get install -y "$$package"; } >"$$log" 2>&1; then \
			tail -n 5 "$$log"; \
			echo "error: could not install it; as root: apt-get update && apt-get install -y $$package"; exit 2; fi; fi
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
