# Targets: demo (the main job on real SUMO, about 5 minutes on 2 cores; DEMO="--steps 2e5" makes it shorter), test (what
# is quick), thorough (the costly tests), slow (studies of minutes), lint, docs (the site, in build/site), bench, clean.
PYTHON ?= python3
BIN := .venv/bin
export XDG_CACHE_HOME ?= $(CURDIR)/.cache

.PHONY: demo test thorough slow lint docs bench clean

.venv/ready: pyproject.toml requirements.txt
	@echo "setting up .venv with all that is needed, once: about a minute"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable '.[sumo,dev,docs]'
	touch $@

demo: .venv/ready
	rm -rf runs/demo
	$(BIN)/averse demo --out runs/demo $(DEMO)

test: .venv/ready
	$(BIN)/python -m pytest -n 2

thorough: .venv/ready
	$(BIN)/python -m pytest -n 2 -m 'thorough and not slow'

slow: .venv/ready
	$(BIN)/python -m pytest -m slow

lint: .venv/ready
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "the site: build/site/index.html"

bench: .venv/ready
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .cache build
