# Everything happens in .venv/ of this checkout.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
PORT ?= 8888

.PHONY: install run quickstart test trial pytest lint format coverage bench peers simulate drill fuzz options docs clean

install: $(STAMP)

# The editable install sees new code by itself; only new metadata needs another install.
$(STAMP): setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

run: install
	$(BIN)/twistd -n positron --port $(PORT)

# Three nodes, a message, its arrival; fails if it did not arrive.
quickstart: install
	PATH="$(CURDIR)/$(BIN):$$PATH" docs/examples/quickstart.sh

test: trial pytest

# trial sees what has an __init__.py; tests/integration (real processes) has none and is pytest's.
trial: install
	$(BIN)/python -b -W error::BytesWarning -m twisted.trial tests

# The figures of 200 nodes pass under pytest, too; trial has just taken its minutes for them.
pytest: install
	$(BIN)/python -m pytest tests --ignore=tests/simulation/test_figures.py

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

coverage: install
	$(BIN)/coverage erase
	$(BIN)/coverage run -m twisted.trial tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The network tests at full length: 1,000 messages, 20 authors, every bit of an envelope; 20 nodes cut apart for 120 s.
drill: install
	POSITRON_TEST_MESSAGES=1000 POSITRON_TEST_AUTHORS=20 POSITRON_TEST_STRIDE=1 \
		POSITRON_TEST_NODES=20 POSITRON_TEST_CUT=120 \
		$(BIN)/python -m pytest -rP --durations=10 tests/integration/test_network.py tests/integration/test_cuts.py \
		tests/simulation/test_gossip.py

# A node besieged by hostile peers, each time with other seeds, for POSITRON_FUZZ_MINUTES (60). Fails if anything did.
fuzz: install
	$(BIN)/python -m tests.fuzz

bench: install
	$(BIN)/positron bench micro
	$(BIN)/positron bench local
	$(BIN)/positron bench local --size 4096 --messages 20000
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/anti_entropy.py

# positron beside its rivals at the same work, in one sitting; installs them first. A quarter of an hour.
peers: install
	PYTHON=$(CURDIR)/$(BIN)/python benchmarks/peers/setup.sh
	$(BIN)/python benchmarks/peers/sitting.py

# The page of evidence: positron beside its rivals at full size. Most of an hour of two cores, by hand, not in CI.
# Runs that this code made already are taken from the reports, so that an hour that was cut short goes on where it was.
simulate: install
	mkdir -p build
	$(BIN)/python benchmarks/evidence.py --output docs/evidence.rst --reports build/evidence.jsonl

# The page of options is made from their declarations; a test compares the two.
options: install
	$(BIN)/python -c 'from positron.config.render import options_table; print(options_table(), end="")' > docs/options.rst

docs: install
	$(BIN)/sphinx-build -n -W -q docs docs/_build/html

clean:
	rm -rf .venv build dist *.egg-info _trial_temp* docs/_build .hypothesis .mypy_cache .ruff_cache
