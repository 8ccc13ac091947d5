# Run `make help`. Every target makes the environment (.venv/) first if it is missing or out of date.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VIDEOS ?=
IMAGE ?=
AUDIO ?=
DEMO ?= demo
OWN = $(if $(VIDEOS),videos="$(VIDEOS)") $(if $(IMAGE),image="$(IMAGE)") $(if $(AUDIO),audio="$(AUDIO)")
# One more than cores, for tests wait as well: for ranks, a cluster, processes that start. (nproc heeds OMP_NUM_THREADS.)
WORKERS ?= $(shell expr $$(env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN) + 1)
# A file at a time: what its tests share (a cluster, trainings on two ranks) is made once.
PYTEST_ARGS ?= -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# A bar for each package on a terminal, a line for each elsewhere.
PIP_BAR ?= on

export WDS_SECURE := 1
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-portrait demo-video demo-paha demo-versa demo-versa-video test test-slow proofs lint format bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "cospeech needs Python 3.11: install it, or name it with PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing some 160 packages into $(VENV)/, once: the largest is torch. From PyPI it comes with CUDA: 3.5 GB to"
	@echo "download, 7.5 GB on the disk; with a CPU build of torch 1.0 GB and 3.5 GB. Minutes, by your connection."
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar $(PIP_BAR) --constraint constraints.txt \
		--editable '.[dev]'
	@# Three wheels own the files of cv2; the headless one goes on top, so that no window system is needed.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps \
		"$$(grep '^opencv-python-headless==' constraints.txt)"
	@$(BIN)/python -c 'import cv2, mediapipe' || { \
		echo "A system library is missing; on Debian and Ubuntu: apt-get install libgl1 libegl1 libglib2.0-0"; exit 1; }
	@touch $@

setup: $(READY)  ## Make the environment (.venv/)

demo: $(READY)  ## Videos to shards to a trained SMGA to an mp4 (VIDEOS=folder IMAGE=me.png AUDIO=speech.wav for your own)
	$(BIN)/python -m trainers.demo output=$(DEMO) $(OWN)

demo-portrait: $(READY)  ## A picture speaks: frames, motion, mp4, in about 25 minutes on two cores (VIDEOS= IMAGE= AUDIO=)
	$(BIN)/python -m trainers.demo_portrait output=demo-portrait $(OWN)

demo-video: $(READY)  ## A picture speaks and gestures by latent diffusion, all of MMGT, in some 22 minutes on two cores (VIDEOS= IMAGE= AUDIO=)
	$(BIN)/python -m trainers.demo_video output=demo-video $(OWN)

demo-paha: $(READY)  ## The same by one network and two classifiers that judge it, all of PAHA (VIDEOS= IMAGE= AUDIO=)
	$(BIN)/python -m trainers.demo_paha output=demo-paha $(OWN)

demo-versa: $(READY)  ## Text and speech to whole-body motion: tokens, transformers, a skeleton video
	$(BIN)/python -m trainers.demo_versa output=demo-versa

demo-versa-video: $(READY)  ## A picture does what speech and texts say, all of VersaAnimator (VIDEOS= IMAGE= AUDIO=)
	$(BIN)/python -m trainers.demo_versa_video output=demo-versa-video $(OWN)

test: $(READY)  ## Run the quick tests: some 9 minutes on two cores
	$(BIN)/python -m pytest -m 'not slow' $(PYTEST_ARGS)

test-slow: $(READY)  ## Run the others: kills, several processes, strategies, memory
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

proofs: $(READY)  ## Demos and trainings over three seeds: many hours; figures go to benchmarks/results/
	$(BIN)/python -m benchmarks.proofs

lint: $(READY)  ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Measure speed; results go to benchmarks/results/
	$(BIN)/python -m benchmarks

clean:  ## Remove the demo's results and the runs
	rm -rf $(DEMO) demo-portrait demo-video demo-paha demo-versa demo-versa-video proofs runs
