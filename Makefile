# Each target does its own set-up: a virtual environment in .venv, and the packages it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEEP := .venv-deep
# the build for CPUs alone: the default one brings gigabytes
TORCH := torch==2.13.0+cpu

.PHONY: demo test test-all test-deep lint types docs audit bench models clean

$(VENV)/.test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q --upgrade pip
	$(RUN) -m pip install -q -e '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(RUN) -m pip install -q -e '.[lint]'
	touch $@

$(VENV)/.all: $(VENV)/.test
	$(RUN) -m pip install -q -e '.[frameworks]'
	touch $@

$(DEEP)/.deep: pyproject.toml  # made only where that torch is to be had; --no-deps: what would ask for another torch
	$(PYTHON) -m venv $(DEEP)
	if $(DEEP)/bin/python -m pip install -q --only-binary :all: '$(TORCH)'; then \
	  $(DEEP)/bin/python -m pip install -q -e '.[test]' '$(TORCH)' keras diffusers gymnasium stable-baselines3 sentence-transformers tensordict && \
	  $(DEEP)/bin/python -m pip install -q --no-deps timm torchvision rsl-rl-lib && touch $@; \
	else echo "no build of $(TORCH) here: the deep frameworks' own files are not tested"; fi

demo: $(VENV)/.test  ## bake a real model, verify it, look inside, and take the scaler out again
	rm -rf build/demo && mkdir -p build/demo
	$(VENV)/bin/onnxscale bake models/cancer_mlp/model.onnx models/cancer_mlp/stats.json -o build/demo/cancer.onnx
	$(VENV)/bin/onnxscale inspect build/demo/cancer.onnx
	$(VENV)/bin/onnxscale selftest build/demo/cancer.onnx
	$(VENV)/bin/onnxscale unbake build/demo/cancer.onnx -o build/demo/original.onnx
	cmp models/cancer_mlp/model.onnx build/demo/original.onnx

test: $(VENV)/.test  ## the fast tests
	$(RUN) -m pytest -n 2

test-all: $(VENV)/.all  ## everything, the slow ones too
	$(RUN) -m pytest -n 2 -m "" --timeout 900 --durations 15

test-deep: $(DEEP)/.deep  ## files that torch, Keras, diffusers, timm, gymnasium and others write, in an environment of their own
	if [ -f $(DEEP)/.deep ]; then $(DEEP)/bin/python -m pytest -n 2 -m "" --timeout 900 -rs \
	  $(shell grep -lE 'needs (torch|keras|timm|diffusers|gymnasium|sentence-transformers)' tests/test_*.py); fi

lint: $(VENV)/.lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(VENV)/.lint
	$(RUN) -m mypy

docs: $(VENV)/.lint  ## the README's tables are those of the code
	$(RUN) -m docs.tables --check

audit: $(VENV)/.test  ## this repository by its own audit
	$(VENV)/bin/onnxscale audit . --exclude build

bench: $(VENV)/.all
	$(RUN) -m benchmarks inference
	$(RUN) -m benchmarks folding
	$(RUN) -m benchmarks decisions
	$(RUN) -m benchmarks forests
	$(RUN) -m benchmarks audit
	$(RUN) -m benchmarks fitting
	$(RUN) -m benchmarks quantiles

models: $(VENV)/.test  ## train and export the models again
	$(RUN) -m pip install -q -r models/requirements.txt
	$(RUN) -m models.make

clean:
	rm -rf $(VENV) $(DEEP) build
