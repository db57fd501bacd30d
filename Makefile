# make demo   install, make synthetic DICOM data, run all eight stages, end with a report
# make test   install, lint, types, import layering, unit and pipeline tests
# make test-full   make test and the slow tests
# make schema      after a change of an option: write the JSON schema of recipes anew
# make gpu-check   on a machine with a GPU: CUDA tests, all scripts, speed and memory, in minutes
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
# every process makes the data and models of the tests for itself, so more of them gain little
PYTEST := $(PY) -m pytest -n $(CORES) --maxprocesses 4 --dist worksteal

DEMO := demo
DEMO_DATA := --config configs/demo.yaml --data_dir $(DEMO)/data
DEMO_MODEL := $(DEMO_DATA) --model_dir $(DEMO)/model
DEMO_SERIES ?= 400
FUZZ ?= --count 10000 --minutes 10 --seed 0
FUZZ_KEEP ?= $(DEMO)/fuzz

.PHONY: install demo demo-clean test test-full lint types imports figures quality fuzz doctor gpu-check schema

install: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	$(PY) -c "import torch, torchvision, timm"
	touch $@

# Exit code 4 says that series were rejected; the run itself is fine.
accept_rejected = || test $$? -eq 4

demo: install
	$(PY) tools/make_demo_data.py --out_dir $(DEMO)/data --series $(DEMO_SERIES) --num_workers $(CORES)
	$(PY) preprocess_data.py $(DEMO_DATA) --no_slices $(accept_rejected)
	$(PY) create_folds.py $(DEMO_DATA)
	$(PY) train_stage1.py $(DEMO_MODEL)
	$(PY) eval_stage1.py $(DEMO_MODEL)
	$(PY) extract_features.py $(DEMO_MODEL)
	$(PY) train_stage2.py $(DEMO_MODEL)
	$(PY) eval_stage2.py $(DEMO_MODEL)
	$(PY) eval_end_to_end.py $(DEMO_MODEL) $(accept_rejected)
	@echo
	@echo "The report: $(DEMO)/model/demo/fold-0/report.html"

demo-clean:
	rm -rf $(DEMO)

figures: install
	$(PY) tools/draw_figures.py $(DEMO_MODEL) --out_dir content

quality: install
	$(PY) -m benchmarks.demo_quality --out_dir $(DEMO)/quality

fuzz: install
	$(PY) -m tests.imaging.fuzz_dicom --keep $(FUZZ_KEEP) $(FUZZ)

# without an install: it runs where there is no network, with PY=python3 too
gpu-check:
	PYTHONPATH=src$(if $(PYTHONPATH),:$(PYTHONPATH)) $(PY) -m benchmarks.gpu_check --out_dir $(DEMO)/gpu $(GPU_CHECK)

# after a change of an option
schema: install
	$(PY) -m intracranial.recipe_schema

doctor:
	$(PY) tools/doctor.py

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: install
	$(VENV)/bin/mypy

imports: install
	$(VENV)/bin/lint-imports

test: lint types imports
	$(PYTEST) -m "not slow"

test-full: lint types imports
	$(PYTEST)
