# Everything runs in .venv; the first target that needs it builds it.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

# "required": without a browser `make test` fails; else it leaves out the tests that need one, and says so.
BROWSER ?= wanted
find_browser = for name in chromium chromium-browser google-chrome google-chrome-stable; do command -v $$name && break; done

.PHONY: demo test browser docs docs-links lint format policies detectors bench clean

demo: .venv/.ready ## set up, then train the quickstart network and write its report
	$(BIN)/cellfree run scenarios/quickstart.yaml

test: .venv/.ready browser ## set up, then run all tests; `make test JOBS=1 ARGS=tests/unit/uplink` for some, in one process
	@marked=; \
	if test -z "$$($(find_browser))"; then \
	  echo "==== NO BROWSER: tests of the live page (tests/browser, tests/cluster/test_web_run.py)" \
	    "cannot run; mend it with: apt-get install chromium" >&2; \
	  test $(BROWSER) != required || exit 1; \
	  echo "==== they are LEFT OUT of this run" >&2; \
	  marked="-m not(browser)"; \
	fi; \
	$(BIN)/python -m pytest --numprocesses $(JOBS) $$marked $(ARGS)

browser: ## the Chromium that tests need: the one on PATH; for root on Debian (a container, CI) it is installed
	@if test -z "$$($(find_browser))" && command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; \
	fi || true

docs: .venv/.ready ## build the manual into build/docs; a warning, and a link that leads nowhere, is an error
	$(BIN)/python -m sphinx -W -n --keep-going -b html docs build/docs

docs-links: .venv/.ready ## whether the few links that leave the manual lead somewhere; needs the network
	$(BIN)/python -m sphinx -W -n -b linkcheck docs build/docs-links

lint: .venv/.ready ## format, lint, types and layers, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

policies: .venv/.ready ## train the policies that ship with the package anew, and put them in their place
	rm -rf build/policies
	for name in set-shared set-central; do \
	  $(BIN)/cellfree run scenarios/policies/$$name.yaml --out build/policies/$$name && \
	  $(BIN)/cellfree policies export build/policies/$$name --out cellfree_sim/trained_policies/$$name.policy || exit 1; \
	done

detectors: .venv/.ready ## train the learned detectors that ship with the package anew, and put them in their place
	for file in scenarios/detectors/*.yaml; do \
	  $(BIN)/cellfree train $$file --out cellfree_sim/trained_detectors/$$(basename $$file .yaml).detector || exit 1; \
	done

bench: .venv/.ready ## speed, as ratios measured side by side
	$(BIN)/cellfree bench

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
