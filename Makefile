# Obliviate Server. `make help` lists the targets. Files are found by their place: a new .c in common/,
# server/ or worker/ is built, a new tests/unit/test_*.c is run, without a line here.

CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
B       := build
# Sub-makes use all processors.
SUBMAKE  = $(MAKE) --no-print-directory -j$(shell nproc)
# V=1 shows whole commands.
PYTHON  ?= python3

COMMON_SRC := $(wildcard common/*.c)
SERVER_SRC := $(wildcard server/*.c)
WORKER_SRC := $(wildcard worker/*.c worker/*/*.c)
KERNEL_SRC := worker/ops/kernels.c
SERVER_MAIN := server/main.c
WORKER_MAIN := worker/main.c
PLANT_MAIN  := worker/attack/main.c
MAINS      := $(SERVER_MAIN) $(WORKER_MAIN) $(PLANT_MAIN)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-align \
	-Wwrite-strings -Wvla -Wformat=2 -Werror
# clang warns where `omp simd` is a wish that it cannot grant; gcc grants it or says nothing.
ifneq (,$(findstring clang,$(shell $(CC) --version)))
WARN += -Wno-pass-failed
endif
BASE := -std=c17 -D_GNU_SOURCE -I. $(WARN) -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast -pthread -MMD -MP
HARD := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
OPT  := -O2 -g $(HARD)
SAN  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined

COMMON_LIBS := -ljansson -lcrypto -lm
WORKER_LIBS := $(COMMON_LIBS) -lseccomp -pthread
SERVER_LIBS := $(COMMON_LIBS) -lmicrohttpd -luv -lsqlite3 -lzip -lz -pthread

PROGRAMS := $(B)/obliviated $(B)/obliviate-worker $(B)/obliviate-plant
SAN_PROGRAMS := $(B)/san/obliviated $(B)/san/obliviate-worker $(B)/san/obliviate-plant

.PHONY: arm64 all help deps test-deps test unit api oracle demo bench bench-growth bench-products bench-defence bench-service reproduce presets evidence lint fuzz cover format clean san golden
.DEFAULT_GOAL := all

all: deps ## Build the three programs (installs the libraries by name where they are missing)
	@$(SUBMAKE) programs

.PHONY: programs
programs: $(PROGRAMS)
san: $(SAN_PROGRAMS)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | sort | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

# --- packages ---------------------------------------------------------------------------------------

deps:
	@sh deploy/packages.sh build
test-deps:
	@sh deploy/packages.sh build test

# --- objects ----------------------------------------------------------------------------------------
# One directory per variant: opt (the product), san (ASan + UBSan), dbl (real = double, for gradient checks).
# kernels.c is compiled once per instruction set.

ARCH := $(shell $(CC) -dumpmachine)
ifneq (,$(findstring x86_64,$(ARCH)))
ISAS := plain avx2 avx512 avx512bf16
else
ISAS := plain
endif
ISA_plain  :=
ISA_avx2   := -mavx2 -mfma -mf16c
ISA_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mprefer-vector-width=512
ISA_avx512bf16 := $(ISA_avx512) -mavx512bf16

FLAGS_opt := $(OPT)
KERNEL_OPT_opt := -O3
FLAGS_san := $(SAN)
FLAGS_dbl := $(SAN) -DOBLIVIATE_DOUBLE

define variant
OBJ_$(1)_COMMON := $(COMMON_SRC:%.c=$(B)/$(1)/%.o)
OBJ_$(1)_SERVER := $(filter-out $(MAINS:%.c=$(B)/$(1)/%.o),$(SERVER_SRC:%.c=$(B)/$(1)/%.o))
OBJ_$(1)_WORKER := $(filter-out $(MAINS:%.c=$(B)/$(1)/%.o) $(KERNEL_SRC:%.c=$(B)/$(1)/%.o),$(WORKER_SRC:%.c=$(B)/$(1)/%.o)) \
	$(foreach isa,$(ISAS),$(B)/$(1)/worker/ops/kernels_$(isa).o)
$(B)/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(if $$(V),,@echo '  CC  $$@' ;) $$(CC) $(BASE) $(FLAGS_$(1)) $$(CFLAGS) -c -o $$@ $$<
$(B)/$(1)/libcommon.a: $$(OBJ_$(1)_COMMON)
$(B)/$(1)/libserver.a: $$(OBJ_$(1)_SERVER)
$(B)/$(1)/libworker.a: $$(OBJ_$(1)_WORKER)
$(B)/$(1)/lib%.a:
	@rm -f $$@
	$$(AR) rcs $$@ $$^
endef
$(foreach v,opt san dbl,$(eval $(call variant,$(v))))

define kernel
$(B)/$(1)/worker/ops/kernels_$(2).o: $(KERNEL_SRC)
	@mkdir -p $$(@D)
	$$(if $$(V),,@echo '  CC  $$@' ;) $$(CC) $(BASE) $(FLAGS_$(1)) $(KERNEL_OPT_$(1)) $(ISA_$(2)) -DISA=$(2) $$(CFLAGS) -c -o $$@ $$<
endef
$(foreach v,opt san dbl,$(foreach isa,$(ISAS),$(eval $(call kernel,$(v),$(isa)))))

# Migrations, the page and openapi.yaml are built into the daemon.
MIGRATIONS := $(sort $(wildcard migrations/*.sql))
WEB := $(sort $(wildcard server/web/*.html server/web/*.css server/web/*.js server/web/*.svg))
ASSETS := $(MIGRATIONS) $(WEB) $(wildcard openapi.yaml)
$(B)/gen/assets.c: deploy/embed.sh $(ASSETS)
	@mkdir -p $(@D)
	sh deploy/embed.sh $(ASSETS) >$@.tmp && mv $@.tmp $@
$(B)/opt/assets.o $(B)/san/assets.o: $(B)/gen/assets.c
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(BASE) -O1 -c -o $@ $<

$(B)/obliviated: $(B)/opt/server/main.o $(B)/opt/libserver.a $(B)/opt/assets.o $(B)/opt/libcommon.a
	$(if $(V),,@echo '  CC  $@' ;) $(CC) -pie -o $@ $^ $(SERVER_LIBS)
$(B)/obliviate-worker: $(B)/opt/worker/main.o $(B)/opt/libworker.a $(B)/opt/libcommon.a
	$(if $(V),,@echo '  CC  $@' ;) $(CC) -pie -o $@ $^ $(WORKER_LIBS)
$(B)/obliviate-plant: $(B)/opt/worker/attack/main.o $(B)/opt/libworker.a $(B)/opt/libcommon.a
	$(if $(V),,@echo '  CC  $@' ;) $(CC) -pie -o $@ $^ $(WORKER_LIBS)
$(B)/san/obliviated: $(B)/san/server/main.o $(B)/san/libserver.a $(B)/san/assets.o $(B)/san/libcommon.a
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(SAN) -o $@ $^ $(SERVER_LIBS)
$(B)/san/obliviate-worker: $(B)/san/worker/main.o $(B)/san/libworker.a $(B)/san/libcommon.a
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(SAN) -o $@ $^ $(WORKER_LIBS)
$(B)/san/obliviate-plant: $(B)/san/worker/attack/main.o $(B)/san/libworker.a $(B)/san/libcommon.a
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(SAN) -o $@ $^ $(WORKER_LIBS)

# --- tests ------------------------------------------------------------------------------------------
# tests/unit/test_X.c and tests/golden/test_X.c are cmocka programs over the sanitised libraries;
# tests/unit/dbl_X.c over the double-precision kernels.

UNIT_SRC := $(wildcard tests/unit/test_*.c tests/golden/test_*.c)
DBL_SRC  := $(wildcard tests/unit/dbl_*.c)
UNIT_BIN := $(UNIT_SRC:tests/%.c=$(B)/tests/%) $(DBL_SRC:tests/%.c=$(B)/tests/%)

# These make allocations fail.
$(B)/tests/unit/test_no_memory $(B)/tests/unit/test_no_memory_scan: LINK := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
$(B)/tests/%: tests/%.c $(B)/san/libserver.a $(B)/san/libworker.a $(B)/san/libcommon.a $(B)/san/assets.o
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(BASE) $(SAN) $(LINK) -Wno-missing-prototypes -Wno-unused-parameter -o $@ $< $(B)/san/libserver.a $(B)/san/assets.o \
		$(B)/san/libworker.a $(B)/san/libcommon.a -lcmocka -lopenblas $(SERVER_LIBS) $(WORKER_LIBS)
$(B)/tests/unit/dbl_%: tests/unit/dbl_%.c $(B)/dbl/libworker.a $(B)/dbl/libcommon.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(BASE) $(FLAGS_dbl) -Wno-missing-prototypes -Wno-unused-parameter -o $@ $< \
		$(B)/dbl/libworker.a $(B)/dbl/libcommon.a -lcmocka $(WORKER_LIBS)

unit: test-deps ## Run the unit and golden tests only
	@$(SUBMAKE) $(UNIT_BIN)
	@sh tests/run.sh $(UNIT_BIN)

# The virtual environment of the API tests: pytest, openai, a browser driver; no PyTorch.
VENV := $(B)/venv
$(VENV)/.ready: tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt
	@touch $@

# Of the worker's numerics for arm64, cross-built and run by an emulator: what needs no foreign library, against a small
# stand-in for cmocka. Float and double, as above. The vectors of 16 bytes in "plain" are NEON's registers there.
ARM64_CC  ?= aarch64-linux-gnu-gcc
ARM64_RUN ?= qemu-aarch64 -L /usr/aarch64-linux-gnu
ARM64_SRC := $(wildcard worker/base/*.c worker/ops/*.c worker/peft/*.c worker/model/encoder*.c) worker/model/fold.c \
	worker/model/head.c worker/train/batch.c worker/train/loss.c worker/train/optim.c common/err.c common/buf.c common/utf8.c
ARM64_TESTS := arm64/test_base arm64/test_kernels arm64/test_loss arm64dbl/dbl_kernels
ARM64_BIN := $(ARM64_TESTS:%=$(B)/%.run)
FLAGS_arm64    := -O2
FLAGS_arm64dbl := -O2 -DOBLIVIATE_DOUBLE

define arm64
$(B)/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(if $$(V),,@echo '  CC  $$@' ;) $$(ARM64_CC) $(BASE) $$(FLAGS_$(1)) -c -o $$@ $$<
$(B)/$(1)/worker/ops/kernels.o: FLAGS_$(1) += -O3 -DISA=plain
$(B)/$(1)/libnumerics.a: $(ARM64_SRC:%.c=$(B)/$(1)/%.o)
	@rm -f $$@
	@ar rcs $$@ $$^
$(B)/$(1)/%: tests/unit/%.c tests/arm64/cmocka.h $(B)/$(1)/libnumerics.a
	$$(if $$(V),,@echo '  CC  $$@' ;) $$(ARM64_CC) -Itests/arm64 $(BASE) $$(FLAGS_$(1)) -Wno-missing-prototypes -Wno-unused-parameter \
		-o $$@ $$< $(B)/$(1)/libnumerics.a -lm
endef
$(foreach v,arm64 arm64dbl,$(eval $(call arm64,$(v))))
.PRECIOUS: $(ARM64_TESTS:%=$(B)/%)
# A program of another architecture, as one of ours.
$(B)/%.run: $(B)/%
	@printf '#!/bin/sh\nexec %s %s\n' '$(ARM64_RUN)' '$<' >$@ && chmod +x $@

arm64: ## Cross-build the numerics for arm64 and run their tests in an emulator
	@sh deploy/packages.sh arm64
	@$(SUBMAKE) $(ARM64_BIN)
	@sh tests/run.sh $(ARM64_BIN)

# On such a machine they are built and run as all others.
ifneq (,$(findstring x86_64,$(ARCH)))
EMULATED := $(ARM64_BIN)
EMULATOR := arm64
endif

test: test-deps ## Run all tests but the oracles (ASan and UBSan on)
	@sh deploy/packages.sh $(EMULATOR)
	@$(SUBMAKE) programs san $(UNIT_BIN) $(EMULATED) $(VENV)/.ready
	@sh tests/run.sh $(UNIT_BIN) $(EMULATED) --pytest $(VENV)/bin/python tests/api tests/cases tests/e2e tests/fault tests/lint

oracle: test-deps ## Compare with the real PyTorch, transformers, peft, adapters and tokenizers (several GB of packages)
	@$(SUBMAKE) programs $(B)/oracle/probe $(B)/oracle/export $(B)/oracle/losses $(B)/oracle/venv/.ready $(B)/oracle/venv-adapterhub/.ready
	@sh tests/run.sh --pytest $(B)/oracle/venv/bin/python tests/oracle

# Two environments: adapters 1.3.0 needs a transformers that peft's newest does not.
$(B)/oracle/venv/.ready: tests/oracle/requirements.txt
$(B)/oracle/venv-adapterhub/.ready: tests/oracle/requirements-adapterhub.txt
$(B)/oracle/%/.ready:
	@mkdir -p $(B)/oracle
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check torch==2.13.0
	$(@D)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@
$(B)/oracle/probe $(B)/oracle/export $(B)/oracle/losses: $(B)/oracle/%: tests/oracle/%.c $(B)/opt/libworker.a $(B)/opt/libcommon.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(BASE) $(OPT) -o $@ $< $(B)/opt/libworker.a $(B)/opt/libcommon.a $(WORKER_LIBS)
$(B)/oracle/tokenize: tests/oracle/tokenize.c $(B)/opt/libworker.a $(B)/opt/libcommon.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(BASE) $(OPT) -o $@ $< $(B)/opt/libworker.a $(B)/opt/libcommon.a $(WORKER_LIBS)

golden: $(B)/oracle/venv/.ready ## Make the golden files of tests/golden again (pinned versions)
	$(B)/oracle/venv/bin/python tests/golden/generate.py

# --- everything else --------------------------------------------------------------------------------

demo: deps ## The main job on real input: plant, train undefended and defended, compare (KEEP=0 stops at the end)
	@$(SUBMAKE) programs
	@KEEP=$(KEEP) sh deploy/demo.sh

bench: test-deps ## Measure training speed beside PyTorch in one run
	@$(SUBMAKE) programs $(B)/oracle/probe $(B)/bench/products $(B)/oracle/venv/.ready
	$(B)/oracle/venv/bin/python tests/bench/bench.py

bench-growth: test-deps ## Time a token against batch, length, width, depth, threads and rows; plots in docs/plots
	@$(SUBMAKE) programs $(B)/oracle/probe $(B)/oracle/venv/.ready
	$(B)/oracle/venv/bin/python tests/bench/growth.py

$(B)/bench/products: tests/bench/products.c $(B)/opt/libworker.a $(B)/opt/libcommon.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC  $@' ;) $(CC) $(BASE) $(OPT) -o $@ $< $(B)/opt/libworker.a $(B)/opt/libcommon.a -lopenblas $(WORKER_LIBS)
bench-products: test-deps ## Our matrix product beside OpenBLAS's, one thread
	@$(SUBMAKE) $(B)/bench/products
	OPENBLAS_NUM_THREADS=1 $(B)/bench/products

bench-service: test-deps ## The service under load while a worker trains: requests, lists, events, large files
	@$(SUBMAKE) programs $(VENV)/.ready
	$(VENV)/bin/python tests/bench/service.py
	$(VENV)/bin/python tests/bench/start.py

reproduce presets: deps ## The matrix of attacks, PEFTs and defences (8 hours), the choice of presets (1 hour), resumable; DATA=folder CELLS=patterns PARTS=auto,fixed,informed PRECISION=bf16 QUICK=1 LIST=1
	@$(SUBMAKE) programs
	@DEMO_STOP=data sh deploy/demo.sh
	@DATA="$(DATA)" CELLS="$(CELLS)" PARTS="$(PARTS)" STEPS="$(STEPS)" ROWS="$(ROWS)" PRECISION="$(PRECISION)" QUICK="$(QUICK)" \
		LIST="$(LIST)" $(PYTHON) tests/reproduce/$@.py

evidence: deps ## Scans of clean and planted models, resumable; DATA=folder MODELS=patterns QUICK=1 LIST=1 PAGE=1; 6 hours
	@$(SUBMAKE) programs
	@DEMO_STOP=data sh deploy/demo.sh
	@DATA="$(DATA)" MODELS="$(MODELS)" QUICK="$(QUICK)" LIST="$(LIST)" PAGE="$(PAGE)" KEEP="$(KEEP)" \
		$(PYTHON) tests/evidence/evidence.py

bench-defence: deps ## What the default LoRA preset does, three seeds (PRECISION="float32 bf16"; TUNE=1: the grid behind it); an hour
	@$(SUBMAKE) programs
	@DEMO_STOP=data sh deploy/demo.sh
	$(PYTHON) tests/bench/defence.py $(if $(TUNE),--tune) $(if $(PRECISION),--precision $(PRECISION))

lint: ## clang-format, clang-tidy, cppcheck, layer rule, shellcheck
	@sh deploy/packages.sh build test lint
	@sh tests/lint/lint.sh

format: ## Format every C file
	clang-format -i $(shell git ls-files '*.c' '*.h')

FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
fuzz: ## Run each fuzz target for FUZZ_SECONDS (default 30) with libFuzzer
	@sh deploy/packages.sh build test lint
	@sh tests/fuzz/run.sh $(or $(FUZZ_SECONDS),30) $(FUZZ_SRC)

cover: ## Line coverage of the unit and API tests
	@sh deploy/packages.sh build test lint
	@sh tests/cover.sh

clean: ## Remove what was built (keeps virtual environments and downloads)
	rm -rf $(B)/clang $(B)/arm64 $(B)/arm64dbl $(B)/opt $(B)/san $(B)/dbl $(B)/gen $(B)/tests $(B)/oracle/probe $(B)/oracle/export $(B)/oracle/losses $(PROGRAMS)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
