# Everything starts from here: `make help`. A fresh machine needs Python 3.11, git and make.

PYTHON    ?= $(shell command -v python3.11 || command -v python3)
FOOTAGE   ?=
WORKSPACE ?= $(if $(FOOTAGE),demo/own,demo/acme)
SERVE     ?= 1
STAGE_ARGS ?=
BUILD_ARGS ?=
TRAIN_ARGS ?=
TAKES_ARGS ?=

# `make demo FOOTAGE=~/clips` also works where the shell leaves the tilde alone
FOLDER     = $(patsubst ~/%,$(HOME)/%,$(FOOTAGE))
INSTALLED  = .venv/.installed
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# nothing talks to the network: no telemetry, no hub look-ups unless a Hub model is asked for by name
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup demo nano test test-slow check lock clean

help:                  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## /  make \1	/' | expand -t 22
	@echo "  variables: FOOTAGE=folder (your own clips), WORKSPACE=folder, SERVE=0 (no page at the end)"

setup: $(INSTALLED)    ## .venv with everything pinned in requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	test -x .venv/bin/uv || .venv/bin/python -m pip install --quiet uv
	.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements.lock
	.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
	touch $(INSTALLED)

demo: $(INSTALLED)     ## the main job: footage in, adapters out, compared side by side (FOOTAGE=folder for your own clips)
ifeq ($(FOOTAGE),)
	data-tools stage "$(WORKSPACE)" $(STAGE_ARGS)
	data-tools ingest "$(WORKSPACE)" "$(WORKSPACE)/footage"
else
	data-tools init "$(WORKSPACE)" --name Own --trigger ownlook --subject "the subject" --owner "$${USER:-me}" --cleared
	data-tools ingest "$(WORKSPACE)" "$(FOLDER)"
endif
	data-tools tag "$(WORKSPACE)"
	data-tools caption "$(WORKSPACE)"
	data-tools coverage "$(WORKSPACE)"
	data-tools build "$(WORKSPACE)" $(BUILD_ARGS)
	accelerate launch train.py recipes/nano_look.toml --workspace "$(WORKSPACE)" $(TRAIN_ARGS)
	accelerate launch train.py recipes/nano_quick.toml --workspace "$(WORKSPACE)" $(TRAIN_ARGS)
	lora-studio takes "$(WORKSPACE)" $(TAKES_ARGS)
	lora-studio score "$(WORKSPACE)"
	lora-studio report "$(WORKSPACE)"
ifeq ($(SERVE),0)
	@echo 'To look at them: python app.py --workspace "$(WORKSPACE)"'
else
	python app.py --workspace "$(WORKSPACE)"
endif

NANO ?= build/nano
nano: $(INSTALLED)     ## nova-nano from its seed: lessons, VAE, backbone, vision model (hours; goes on where it stopped)
	data-tools lessons $(NANO)/lessons
	test -f $(NANO)/model/model_index.json || python -m lora_studio.nano.build $(NANO)/model
	python -m lora_studio.nano.train_vae recipes/nano/vae.toml --work $(NANO) --out $(NANO)/first
	python -m lora_studio.nano.train_vae recipes/nano/vae_movement.toml --work $(NANO) --out $(NANO)/second \
		--start $(NANO)/first/vae/diffusion_pytorch_model.safetensors
	python -m lora_studio.nano.train_vae recipes/nano/vae_decoder.toml --work $(NANO) --out $(NANO)/third \
		--start $(NANO)/second/vae/diffusion_pytorch_model.safetensors
	python -m lora_studio.nano.train_vae recipes/nano/vae_colours.toml --work $(NANO) --out $(NANO)/model \
		--start $(NANO)/third/vae/diffusion_pytorch_model.safetensors
	python -m lora_studio.nano.train_backbone recipes/nano/backbone.toml --work $(NANO) --model $(NANO)/model
	python -m lora_studio.nano.train_vision recipes/nano/vision.toml --work $(NANO) --model $(NANO)/model
	@echo "the set is in $(NANO)/model; copy it over lora_studio/assets/nova_nano to ship it"

test: $(INSTALLED)     ## the tests (under five minutes)
	pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: $(INSTALLED) ## the long proofs: kills, two processes, the whole demo
	pytest -m "slow and not gpu"

check: $(INSTALLED)    ## style, types, floors
	ruff check .
	pyright
	pytest tests/test_house.py

lock: $(INSTALLED)     ## renew requirements.lock from pyproject.toml
	.venv/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --upgrade --quiet --output-file requirements.lock

clean:                 ## remove the environment and the demo workspaces
	rm -rf .venv demo
