# Targets: demo (the main job on real SUMO, about 5 minutes on 2 cores; DEMO="--steps 2e5" makes it shorter), test (what
# is quick), thorough (the costly tests), slow (studies of minutes), lint, docs (the site, in build/site), bench, clean.
PYTHON ?= python3
BIN := .venv/bin
export XDG_CACHE_HOME ?= $(CURDIR)/.cache

.PHONY: demo test thorough slow lint docs bench clean

INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable

.venv/ready: pyproject.toml requirements.txt
	@echo "setting up .venv with what the demo needs, once: less than a minute"
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[sumo]'
	touch $@

.venv/dev: .venv/ready
	@echo "adding what tests, lint and docs need, once: a minute or two"
	$(INSTALL) '.[sumo,dev,docs]'
	touch $@

demo: .venv/ready
	rm -rf runs/demo
	$(BIN)/averse demo --out runs/demo $(DEMO)

test: .venv/dev
	$(BIN)/python -m pytest -n 2

thorough: .venv/dev
	$(BIN)/python -m pytest -n 2 -m 'thorough and not slow'

slow: .venv/dev
	$(BIN)/python -m pytest -m slow

lint: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "the site: build/site/index.html"

bench: .venv/dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .cache build
