# make demo   set up .venv and run the embedded search (runs/demo/report.html)
#             make demo SCRATCH=1 trains all its models from nothing first (hours)
# make test   set up .venv and run every check; also: lint, docs, test-slow, audit, clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without compiling: most of what is installed is never imported, and what is, Python compiles then.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# And keeps: otherwise every process would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE
MODELS := runs/models

ifdef SCRATCH
demo_needs := $(MODELS)/supernet.safetensors
demo_options := \
  --set model.pipeline=$(MODELS)/pipeline \
  --set model.supernet=$(MODELS)/supernet.safetensors \
  --set evaluation.scorer.name=local-dir:$(MODELS)/judge \
  --set evaluation.second.name=local-dir:$(MODELS)/judge
endif

.PHONY: demo test lint docs test-slow audit clean
.NOTPARALLEL:

demo: $(VENV)/.installed $(demo_needs)
	$(BIN)/evounet search experiments/presets/demo.toml --run runs/demo --overwrite $(demo_options)

test: lint docs
	@# Files in their order: those of many quick tests come last, so neither process waits long.
	@# A thread for each: processes that share cores wait for each other's threads most of the time.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed-test
	$(BIN)/pytest -m slow

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Links and references that lead nowhere are faults.
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# In an environment of its own, for it brings dependencies that nothing else needs.
audit:
	@test -x $(VENV)-audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)-audit \
	  && $(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	$(VENV)-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

$(MODELS)/supernet.safetensors: | $(VENV)/.installed
	$(BIN)/evounet train base --out $(MODELS)
	$(BIN)/evounet train supernet --pipeline $(MODELS)/pipeline --out $@

# The stamps: an installation is repeated only when its description changed.
$(VENV)/.installed: setup.cfg constraints.txt | $(VENV)/.created
	@echo "Installing evounet and its dependencies into $(VENV) (usually 2 to 4 minutes) ..."
	@$(PIP) -c constraints.txt -e '.[dashboard]'
	@touch $@

$(VENV)/.installed-test: setup.cfg constraints.txt | $(VENV)/.created
	@echo "Installing evounet, its dependencies and its checks into $(VENV) (usually 2 to 4 minutes) ..."
	@$(PIP) -c constraints.txt -e '.[test,dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "evounet needs Python >= 3.10, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1): choose another with make PYTHON=..." >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version) (a few seconds) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) 'pip >= 23.1'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-audit build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
