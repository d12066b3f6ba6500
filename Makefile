VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
KATEX := 0.16.22
KATEX_SHA256 := e9e0d167db3175481cbadaff38e8d90b130f6a3ddb451a47e43c577fd511f365
NOTEBOOKS = $(sort $(shell find nbs -name '*.ipynb' -not -path '*/.*' -not -path '*/_*'))
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help install demo test sync notebooks readme docs bench mutants clean address
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: settings.ini setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing into $(VENV): about 6 GB where torch brings its GPU libraries; minutes, once"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

install: $(VENV)/.installed  ## make .venv and install the project into it

demo: install  ## train a small network and fill holes: demo/result.png
	gla_demo

# backwards: the longest notebooks are at the end of the alphabet, and both cores should finish together
test: install  ## everything that must hold: notebooks and library in sync, notebooks run, pytest
	pytest -q tests/test_sync.py
	@echo "$(NOTEBOOKS)" | tr ' ' '\n' | sort -r | OMP_NUM_THREADS=1 xargs -P 2 -I{} sh -c 'nbdev_test --path {} && echo "ok {}"'
	pytest -q tests --ignore tests/test_sync.py

sync: install  ## after changing a notebook: export, clean, README
	nbdev_export
	nbdev_clean
	$(MAKE) readme

notebooks: install  ## run all notebooks anew and store their outputs
	nbdev_export
	for nb in $(NOTEBOOKS); do jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.kernel_name=python3 --ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.coalesce_streams=True $$nb || exit 1; done
	$(MAKE) sync

readme:  ## README.md from nbs/index.ipynb: without the site's boxes, and without code that the site does not show either
	jupyter nbconvert --log-level ERROR --to markdown --stdout --RegexRemovePreprocessor.patterns='^#\|\s*(hide|default_exp|code-fold)' nbs/index.ipynb \
	  | sed -E 's#\]\((images/|others/|paper/|prologue|tutorials/|reference|[0-9][^)]*ipynb)#](nbs/\1#g; s#src="images/#src="nbs/images/#g; s#^:::.*##' \
	  | awk '/^```/ { if (f && !skip) print; held = f ? "" : $$0 == "```" ? "```python" : $$0; f = !f; skip = 0; next } held != "" { skip = /^#\| echo: false/; if (!skip) print held; held = "" } !skip { print }' \
	  | cat -s > README.md.new
	test -s README.md.new && mv README.md.new README.md

address: install  ## after changing git_url in settings.ini: the same in the notebooks' first cells
	$(BIN)/python -c "from configparser import ConfigParser as C; c = C(); c.read('settings.ini'); print(c['DEFAULT']['git_url'])" > .address
	grep -lE '(git\+|--depth 1 )https://' $(NOTEBOOKS) | xargs perl -pi -e 'BEGIN { open F, ".address"; chomp($$a = <F>) } s#(git\+|git clone -q --depth 1 )https://[\w./-]+#$$1$$a#g'
	rm .address
	$(MAKE) sync

docs:  ## the site, in _docs/ (needs the quarto program)
	@command -v quarto >/dev/null || { echo "The site needs quarto, which is no Python package: get it from quarto.org, then run make docs again."; exit 1; }
	$(MAKE) install
	$(MAKE) readme nbs/katex/$(KATEX) pages
	nbdev_docs

# what sets the equations, by name, version and checksum; it becomes part of the site
nbs/katex/$(KATEX):
	@command -v npm >/dev/null || { echo "The equations need KaTeX, which npm fetches: get npm from nodejs.org, then run make docs again."; exit 1; }
	rm -rf nbs/katex .katex
	mkdir -p nbs/katex .katex
	cd .katex && npm pack --silent katex@$(KATEX)
	$(BIN)/python -c "import hashlib, sys; sys.exit(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest() != sys.argv[2] and 'this is not the KaTeX that we know')" .katex/katex-$(KATEX).tgz $(KATEX_SHA256)
	tar -xzf .katex/katex-$(KATEX).tgz -C .katex
	cd .katex/package && cp -r LICENSE dist/katex.min.js dist/katex.min.css dist/fonts ../../nbs/katex/
	rm -r .katex
	touch $@

.PHONY: pages
pages:
	nbdev_proc_nbs
	@# and it shows the exported source open, below signature and documentation that say the same
	find _proc -name '*.ipynb' -exec perl -pi -e 's/^( *"#\| code-fold: )show\\n/$$1true\\n/' {} +
	@# nbdev puts links into the comments of signatures, where they would stand as text
	find _proc -name '*.ipynb' -exec perl -pi -e 's/\[(`[^`]+`)\]\(http[^)]*\)/$$1/g if /^ *"(    |\)->).*# /' {} +
	python tests/make_anchors.py

bench: install  ## speed and memory against the naive reading, in benchmarks/results/; fails where a target is missed
	OMP_NUM_THREADS= $(BIN)/python benchmarks/run.py

mutants: install  ## wrong versions of the library, one at a time: fails where the notebooks' checks miss one
	$(BIN)/python tests/mutants.py

clean:  ## remove what was built (not $(VENV), not demo/)
	rm -rf build dist _docs _proc *.egg-info .pytest_cache nbs/.quarto nbs/katex .katex
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
