# make setup   a virtual environment .venv with the library, its command line and all test tools
# make demo    the whole job on a generated head; look at demo/report.html
# make test    style, types and tests; all of them, even where an earlier one fails
# make lint    put code in the house's format, bring the CMake lists up to date, check types
# make fuzz    thousands of damaged raw files: each must end in one clear error (FUZZ_COUNT=2400 FUZZ_SEED=1)
# make bench   how fast the operators and the reconstruction are here
#
# On Linux the default torch brings CUDA along; for a smaller one without:
#   make setup PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed
PYTHON_FILES := MSLFusion MSLFusionTraining Testing setup.py
TYPED := MSLFusion/MSLFusionLib MSLFusionTraining/MSLFusionTrainingLib

FUZZ_COUNT ?= 2400
FUZZ_SEED ?= 1

.PHONY: setup demo test lint fuzz bench

setup: $(STAMP)

$(STAMP): pyproject.toml setup.py Testing/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c Testing/constraints.txt -e ".[test]"
	touch $@

demo: $(STAMP)
	$(BIN)/mslfusion demo --output demo

# Each of the two pytest workers has a core; more threads would only wait for one another.
test: export OMP_NUM_THREADS = 1
test: $(STAMP)
	@failed=0; \
	$(BIN)/ruff check $(PYTHON_FILES) || failed=1; \
	$(BIN)/ruff format --check $(PYTHON_FILES) || failed=1; \
	$(BIN)/mypy $(TYPED) || failed=1; \
	$(BIN)/python -m pytest -n 2 || failed=1; \
	exit $$failed

lint: $(STAMP)
	$(BIN)/python Testing/packaging/update_cmake_lists.py
	$(BIN)/ruff check --fix $(PYTHON_FILES)
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/mypy $(TYPED)

fuzz: $(STAMP)
	PYTHONPATH=MSLFusion:Testing $(BIN)/python Testing/raw_fuzz.py --count $(FUZZ_COUNT) --seed $(FUZZ_SEED)

bench: $(STAMP)
	$(BIN)/mslfusion benchmark operators
	$(BIN)/mslfusion benchmark reconstruct
