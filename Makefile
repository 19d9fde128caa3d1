# The main environments are .venv (Airflow 3.3), .venv-airflow2 (Airflow 2.11) and .venv-airflow31 (Airflow 3.1). Make
# creates them if they are missing, and updates them when pyproject.toml or the constraints change. Only Python is needed.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo up test test-e2e test-airflow2 test-e2e-airflow2 test-airflow31 test-pythons test-cluster test-databases test-postgres test-many-alerts mutants bench \
	bench-waiting bench-page bench-webhooks bench-cluster lint docs container pictures package constraints clean

AIRFLOW3 := 3.3.2
AIRFLOW2 := 2.11.2
AIRFLOW31 := 3.1.8
# Run the demo on another Airflow: make demo AIRFLOW=3.1.8. There are constraints for these: constraints/airflow-*.txt.
AIRFLOW := $(AIRFLOW3)
DEMO := $(if $(filter $(AIRFLOW3),$(AIRFLOW)),.venv,.venv-demo-$(AIRFLOW))
# The lowest and the highest Python that each Airflow is tested with. PYTHON=/path/to/python chooses one.
PYTHONS3 := 11 13
PYTHONS2 := 11 12
FOUND := $(foreach minor,11 12 13,$(if $(shell python3.$(minor) -V 2>/dev/null),3.$(minor)))
FOUND_VENVS := $(FOUND:%=.venv-%) $(patsubst %,.venv-airflow2-%,$(filter-out 3.13,$(FOUND)))
# Many tests wait, so more processes than cores run them, and fewer of those that measure coverage. A whole run uses
# these; a run with ARGS uses one process. The tests of a file share a process, and so what is dear to start: a browser,
# or processes that have loaded Airflow.
IN_PARALLEL := --numprocesses $(if $(COVERAGE),4,6) --dist loadfile --no-loadscope-reorder
# An end-to-end test waits most of its time too. Each process starts an Airflow of its own, so there are only two.
END_TO_END := --numprocesses 2 --dist loadfile tests/e2e
# COVERAGE=1 measures which lines a whole run reaches. It more than doubles the time, so only the gate asks for it. It
# starts with Python, since pytest imports our plugin before its own plugins could start to measure.
MEASURED := $(if $(ARGS),,$(COVERAGE))
check_schema = .venv/bin/check-jsonschema --builtin-schema vendor.$(1)
QUIETLY := --quiet --disable-pip-version-check

help:  ## Show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' \
		| while IFS='|' read -r name what; do printf '  make %-18s %s\n' "$$name" "$$what"; done

demo: $(DEMO)/run.stamp  ## Text tomorrow's patients once, through real Airflow and the sandbox
	@$(DEMO)/bin/python -m demo

up: $(DEMO)/run.stamp  ## Run Airflow's UI, the example DAGs and the sandbox until Ctrl-C
	@$(DEMO)/bin/python -m demo up

test: .venv/dev.stamp  ## Run the tests on Airflow 3.3, one of them end to end (ARGS="-k ledger" for some of them)
	$(if $(MEASURED),.venv/bin/coverage erase)
	$(if $(MEASURED),COVERAGE_PROCESS_START=pyproject.toml) .venv/bin/python -m pytest $(or $(ARGS),$(IN_PARALLEL))
	$(if $(MEASURED),.venv/bin/coverage combine --quiet && .venv/bin/coverage report)

test-e2e: .venv/dev.stamp  ## Run the other end-to-end tests, in a real Airflow
	.venv/bin/python -m pytest -m 'e2e and not cluster and not databases' $(or $(ARGS),$(END_TO_END))

test-airflow2: .venv-airflow2/dev.stamp  ## Run the same as "make test" on Airflow 2.11
	.venv-airflow2/bin/python -m pytest $(or $(ARGS),$(IN_PARALLEL))

test-e2e-airflow2: .venv-airflow2/dev.stamp  ## Run the same as "make test-e2e" on Airflow 2.11
	.venv-airflow2/bin/python -m pytest -m 'e2e and not cluster and not databases' $(or $(ARGS),$(END_TO_END))

test-airflow31: .venv-airflow31/test.stamp  ## Run the same as "make test" on Airflow 3.1, with webhooks and delivery end to end
	.venv-airflow31/bin/python -m pytest $(or $(ARGS),$(IN_PARALLEL))
	$(if $(ARGS),,.venv-airflow31/bin/python -m pytest -m 'e2e and not databases' --numprocesses 2 --dist loadfile \
		$(addprefix tests/e2e/,test_without_store.py test_webhooks.py test_connection_form.py test_inbound.py))

test-pythons: $(FOUND_VENVS:%=%/dev.stamp)  ## Run the same as "make test" on every Python of the PATH
	@test -n '$(FOUND)' || { echo 'No python3.11, python3.12 or python3.13 is on the PATH' >&2; exit 1; }
	for venv in $(FOUND_VENVS); do $$venv/bin/python -m pytest $(or $(ARGS),$(IN_PARALLEL)) || exit 1; done

# Needs an empty database: make test-postgres DATABASE=postgresql+psycopg2://…
test-postgres: .venv/cluster.stamp  ## Show on Postgres that no message waits for the next (DATABASE=...)
	@test -n '$(DATABASE)' || { echo 'Name an empty database: DATABASE=postgresql+psycopg2://...' >&2; exit 1; }
	PINDO_TEST_DATABASE='$(DATABASE)' .venv/bin/python -m pytest -m e2e tests/e2e/test_inbound.py -k watched $(ARGS)

# Where the servers are: PINDO_TEST_POSTGRES and PINDO_TEST_REDIS, if they are not where they usually are.
test-cluster: .venv/cluster.stamp  ## Kill parts of a cluster (Celery, Postgres, Redis) while it texts people
	.venv/bin/python -m pytest -m cluster tests/e2e/cluster $(ARGS)

# Where the servers are: PINDO_TEST_POSTGRES and PINDO_TEST_MARIADB, if they are not where they usually are.
test-databases: .venv/cluster.stamp  ## Receive webhooks on Postgres and MariaDB
	.venv/bin/python -m pytest -m databases tests/plugins tests/e2e/test_webhooks.py tests/e2e/test_delivered.py $(ARGS)

test-many-alerts: .venv/dev.stamp  ## Fail 500 real tasks and see one text: a quarter of an hour
	PINDO_FAILURES=500 .venv/bin/python -m pytest -m e2e tests/e2e/test_alerts.py -k many_failing --timeout 3600 \
		-o faulthandler_timeout=4000

mutants: .venv/mutants.stamp  ## Break api/, the inbox, the ledger and what checks a list, one place at a time; list what tests miss
	nice .venv/bin/mutmut run --max-children 1 $(ARGS)
	.venv/bin/mutmut results

bench: .venv/dev.stamp  ## Measure the speed beside plain Python (ARGS=quick leaves out the real Airflow)
	.venv/bin/python -m benchmarks $(ARGS)

bench-webhooks: .venv/dev.stamp  ## Measure how many webhooks an API server takes: two minutes
	.venv/bin/python -m benchmarks.webhooks

bench-waiting: .venv/dev.stamp  ## Measure the cost of a thousand tasks that wait for a reply: twenty minutes
	.venv/bin/python -m benchmarks.waiting $(ARGS)

# Needs an empty database: make bench-page DATABASE=postgresql+psycopg2://…
bench-page: .venv/cluster.stamp  ## Measure the Pindo page over 100,000 ledger entries on Postgres (DATABASE=...)
	@test -n '$(DATABASE)' || { echo 'Name an empty database: DATABASE=postgresql+psycopg2://...' >&2; exit 1; }
	.venv/bin/python -m benchmarks.page '$(DATABASE)'

bench-cluster: .venv/cluster.stamp  ## Measure how a campaign grows with its workers, and draw it: half an hour
	.venv/bin/python -m benchmarks.scaling $(ARGS)

lint: .venv/dev.stamp  ## Check style, types and the workflows
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/hadolint Containerfile
	@# Offline, so that lint needs no network. The audits that compare an action's SHA with its version are left out.
	.venv/bin/zizmor --quiet --offline --persona=pedantic .
	$(call check_schema,github-workflows) .github/workflows/*.yml
	$(call check_schema,dependabot) .github/dependabot.yml
	$(call check_schema,github-issue-config) .github/ISSUE_TEMPLATE/config.yml
	$(call check_schema,github-issue-forms) $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(call check_schema,readthedocs) .readthedocs.yaml

docs: .venv/docs.stamp  ## Build the documentation into build/docs, every warning an error
	rm -rf build/docs
	.venv/bin/python -m sphinx -W --keep-going -n -q docs build/docs
	@echo "The documentation is at build/docs/index.html"

container:  ## Build the sandbox's container with docker, podman or buildah; check its file where none works
	@for builder in docker podman buildah; do \
		if $$builder info >/dev/null 2>&1; then \
			echo "Building with $$builder"; exec $$builder build --tag pindo-sandbox --file Containerfile .; \
		fi; \
	done; \
	echo 'No docker, podman or buildah works here. hadolint checks the Containerfile, and nothing is built.'; \
	$(MAKE) .venv/dev.stamp && .venv/bin/hadolint Containerfile

pictures: .venv/dev.stamp  ## Take the documentation's pictures anew, light and dark, and draw the layers
	.venv/bin/python docs/draw_layers.py
	PINDO_REQUIRE_BROWSER=1 PINDO_SCREENSHOTS=docs/images .venv/bin/python -m pytest -m browser $(ARGS)

package: .venv/dev.stamp .venv-package/bin/python  ## Build the wheel and the sdist, and install the wheel apart
	rm -rf dist
	.venv/bin/python -m build --no-isolation --outdir dist .
	.venv/bin/twine check --strict dist/*
	.venv-package/bin/python -m pip install $(QUIETLY) -c constraints/airflow-3.3.txt \
		'apache-airflow==$(AIRFLOW3)' dist/*.whl
	.venv-package/bin/python -m pip install $(QUIETLY) --force-reinstall --no-deps dist/*.whl
	AIRFLOW_HOME="$$PWD/.venv-package/airflow" .venv-package/bin/airflow providers list --output plain \
		| grep '^airflow-provider-pindo '
	cp tests/package/typed_dag.py .venv-package
	cd .venv-package && ../.venv/bin/mypy --strict --config-file= --python-executable bin/python typed_dag.py

clean:  ## Remove the environments and everything else that was made here
	rm -rf .venv .venv-demo-* .venv-airflow31 .venv-airflow2 .venv-airflow2-3.* .venv-3.* .venv-package .venv-constraints build dist mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call make_venv,FOLDER,AIRFLOW,PYTHONS): a virtual environment with the first Python that fits.
define make_venv
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if "$$python" -c 'import sys; sys.exit(not (3, $(firstword $(3))) <= sys.version_info[:2] <= (3, $(lastword $(3))))' 2>/dev/null; \
		then echo "Making $(1) with $$("$$python" --version) (Airflow $(2))"; \
			exec "$$python" -m venv --clear $(1); \
		fi; \
	done; \
	echo "Airflow $(2) needs Python 3.$(firstword $(3)) to 3.$(lastword $(3)), and none was found." \
		"Install one, or name it: make PYTHON=/path/to/python" >&2; \
	exit 1
endef

# What builds the packages that come as source, ours among them; installed first, so that it is pinned too.
BUILDERS := hatchling editables setuptools wheel

# $(call install,FOLDER,AIRFLOW,CONSTRAINTS,WHAT)
define install
	@echo "Installing into $(1): Airflow $(2) and $(4), a minute or two"
	@$(1)/bin/python -m pip install $(QUIETLY) -c $(3) $(BUILDERS)
	@$(1)/bin/python -m pip install $(QUIETLY) -c $(3) \
		--no-build-isolation 'apache-airflow==$(2)' -e '$(4)'
	@touch $@
endef

.venv/bin/python:
	$(call make_venv,.venv,$(AIRFLOW3),$(PYTHONS3))
.venv-airflow2/bin/python:
	$(call make_venv,.venv-airflow2,$(AIRFLOW2),$(PYTHONS2))

.venv-airflow31/bin/python:
	$(call make_venv,.venv-airflow31,$(AIRFLOW31),$(PYTHONS3))
.venv-package/bin/python:
	$(call make_venv,.venv-package,$(AIRFLOW3),$(PYTHONS3))

.venv/run.stamp: pyproject.toml constraints/airflow-3.3.txt | .venv/bin/python
	$(call install,.venv,$(AIRFLOW3),constraints/airflow-3.3.txt,.[excel])
# The constraints of Airflow 3.1.8 are in constraints/airflow-3.1.txt.
.venv-demo-%/run.stamp: pyproject.toml
	@test -f constraints/airflow-$(basename $*).txt || { \
		echo "No constraints for Airflow $*: there are $(notdir $(wildcard constraints/*.txt))" >&2; exit 1; }
	$(call make_venv,.venv-demo-$*,$*,$(if $(filter 2.%,$*),$(PYTHONS2),$(PYTHONS3)))
	$(call install,.venv-demo-$*,$*,constraints/airflow-$(basename $*).txt,.[excel])
.venv-airflow31/test.stamp: pyproject.toml constraints/airflow-3.1.txt | .venv-airflow31/bin/python
	$(call install,.venv-airflow31,$(AIRFLOW31),constraints/airflow-3.1.txt,.[test])
.venv/dev.stamp: .venv/run.stamp
	$(call install,.venv,$(AIRFLOW3),constraints/airflow-3.3.txt,.[dev])
.venv/cluster.stamp: .venv/dev.stamp
	$(call install,.venv,$(AIRFLOW3),constraints/airflow-3.3.txt,.[cluster])
.venv/mutants.stamp: .venv/dev.stamp
	$(call install,.venv,$(AIRFLOW3),constraints/airflow-3.3.txt,.[mutants])
.venv/docs.stamp: .venv/dev.stamp
	$(call install,.venv,$(AIRFLOW3),constraints/airflow-3.3.txt,.[docs])
.venv-3.%/dev.stamp: pyproject.toml constraints/airflow-3.3.txt
	python3.$* -m venv --clear .venv-3.$*
	$(call install,.venv-3.$*,$(AIRFLOW3),constraints/airflow-3.3.txt,.[dev])
.venv-airflow2-3.%/dev.stamp: pyproject.toml constraints/airflow-2.11.txt
	python3.$* -m venv --clear .venv-airflow2-3.$*
	$(call install,.venv-airflow2-3.$*,$(AIRFLOW2),constraints/airflow-2.11.txt,.[dev])
.venv-airflow2/dev.stamp: pyproject.toml constraints/airflow-2.11.txt | .venv-airflow2/bin/python
	$(call install,.venv-airflow2,$(AIRFLOW2),constraints/airflow-2.11.txt,.[dev])

# $(call pin,FILE,AIRFLOW,PYTHONS,EXTRAS): the newest versions that go together. Each Python keeps to what was found for
# those before it, so that one list serves all.
define pin
	@set -e; : > $(1).all; for python in $(3); do \
		printf '%s\n' apache-airflow==$(2) apache-airflow-providers-standard $(BUILDERS) \
			| .venv-constraints/bin/uv pip compile --quiet --no-annotate --no-header --no-config \
				--python-version "$$python" $(foreach extra,$(4),--extra $(extra)) -c $(1).all pyproject.toml - > $(1).new; \
		cat $(1).new >> $(1).all; \
	done
	@sort -u $(1).all > $(1).new
	@cut -d= -f1 $(1).new | uniq -d | { ! grep . ; } || { echo "$(1): two versions of these" >&2; exit 1; }
	@{ echo "# Made by 'make constraints': for Python $(3) and the extras $(4)"; cat $(1).new; } > $(1)
	@rm $(1).all $(1).new
	@echo "$(1): $$(grep -c == $(1)) packages"
endef

constraints: | .venv-constraints/bin/uv  ## Pin the newest versions of everything anew
	$(call pin,constraints/airflow-3.3.txt,$(AIRFLOW3),3.11 3.12 3.13,dev cluster docs mutants)
	$(call pin,constraints/airflow-2.11.txt,$(AIRFLOW2),3.11 3.12,dev)
	$(call pin,constraints/airflow-3.1.txt,$(AIRFLOW31),3.11 3.12 3.13,test)

.venv-constraints/bin/uv:
	$(call make_venv,.venv-constraints,$(AIRFLOW3),$(PYTHONS3))
	@.venv-constraints/bin/python -m pip install $(QUIETLY) uv
