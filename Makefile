# Debian's Python where it can make environments: it traces graphs up to a fifth faster than Python as pyenv compiles it.
PYTHON ?= $(shell /usr/bin/python3.11 -c 'import ensurepip' 2>/dev/null && echo /usr/bin/python3.11 || echo python3.11)
BIN = .venv/bin
DEMO = runs/demo
# Two test processes (on two cores three are slower); `make test XDIST='-p no:xdist'` has one.
XDIST ?= -n 2 --dist=loadfile --no-loadscope-reorder
# With jemalloc (Debian's libjemalloc2), if it is there, tests of graphs take an eighth less time.
JEMALLOC = $(wildcard /usr/lib/$(shell uname -m)-linux-gnu/libjemalloc.so.2)
# Python may write .pyc files: the tests start about a hundred processes that import the package.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(if $(JEMALLOC),LD_PRELOAD=$(JEMALLOC)) $(BIN)/python -m pytest -q $(XDIST) --durations=25

.PHONY: demo app test test-slow lint docs examples notebooks clean
# With -j, two pips would write to one .venv.
.NOTPARALLEL:

# Trains on handwritten digits for at most five minutes, samples, measures, finds log p, exports, and writes the page of the run.
demo: .venv/ready
	$(BIN)/python run.py --mode=train,sample,evaluate --workdir=$(DEMO) --max_minutes=5
	$(BIN)/python run.py --mode=likelihood,export,report --workdir=$(DEMO) --export_dir=$(DEMO)/saved_model

# The web app over the digits model that comes with the package, on http://127.0.0.1:7860.
app: .venv/app
	$(BIN)/python run.py --mode=app

test: .venv/ready lint
	$(PYTEST) -m 'not slow'

# The slow tests, those of killed processes and of servers among them.
test-slow: .venv/ready
	$(PYTEST) -m slow

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in site/; a broken link or a warning is an error.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Runs the notebooks of examples/ from top to bottom, and writes them with their outputs to runs/examples/.
examples: .venv/examples
	$(BIN)/python examples/notebooks.py run

# Builds the .ipynb files from the Python files of examples/.
notebooks: .venv/examples
	$(BIN)/python examples/notebooks.py build

# Removes what is built; trained runs stay.
clean:
	rm -rf .venv site build *.egg-info

.venv/ready: setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

# What the app needs and no more, and nothing is compiled in advance: a fresh clone starts in half the time.
.venv/app: setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --no-compile --quiet --disable-pip-version-check --editable '.[app]'
	touch $@

.venv/examples: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[examples]'
	touch $@

.venv/docs: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@
