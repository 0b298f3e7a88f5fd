# make            builds ./train_gpt (the launcher) and ./train_gpt_cpu
# make test       every test; SAN=1 builds them under AddressSanitizer and UBSan
# make help       all targets

CC      ?= cc
CFLAGS  ?= -O3 -march=native
BLAS    ?= auto
SAN     ?= 0

# Contraction is off so that the same expressions give the same bits everywhere; code that wants fused
# multiply-adds says fmaf. Never -ffast-math: a NaN must stay visible.
STRICT   = -std=c11 -ffp-contract=off -fno-math-errno -fno-trapping-math
WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wdouble-promotion -Wvla \
           -Wno-missing-field-initializers
CPPFLAGS += -I. -D_POSIX_C_SOURCE=200809L -D_DARWIN_C_SOURCE
LDLIBS   = -lm -lpthread

BUILD = build
ifeq ($(SAN),1)
  BUILD   = build/san
  CFLAGS := -O1 -g -march=native -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif

# OpenMP, where the compiler has it.
OPENMP := $(shell echo 'int main(void){return 0;}' | $(CC) -fopenmp -x c - -o /dev/null 2>/dev/null && echo -fopenmp)

# A CBLAS: found by linking against it; BLAS=builtin leaves it out, BLAS=openblas insists.
OPENBLAS_LIBS := $(shell pkg-config --libs openblas 2>/dev/null || echo -lopenblas)
OPENBLAS_CFLAGS := $(shell pkg-config --cflags openblas 2>/dev/null)
ifneq ($(BLAS),builtin)
  HAVE_OPENBLAS := $(shell echo '\#include <cblas.h>' | cat - dev/probe_blas.c 2>/dev/null | \
      $(CC) $(OPENBLAS_CFLAGS) -x c - -o /dev/null $(OPENBLAS_LIBS) 2>/dev/null && echo 1)
endif
ifeq ($(HAVE_OPENBLAS),1)
  CPPFLAGS += -DHAVE_OPENBLAS $(OPENBLAS_CFLAGS)
  LDLIBS   := $(OPENBLAS_LIBS) $(LDLIBS)
endif

ALL_CFLAGS = $(STRICT) $(OPENMP) $(CFLAGS) $(WARNINGS) $(WERROR)

PROGRAMS  = train/main.c train/launch.c
SOURCES   = $(filter-out $(PROGRAMS),$(wildcard base/*.c data/*.c optim/*.c train/*.c)) train_gpt.c
OBJECTS   = $(SOURCES:%.c=$(BUILD)/%.o)
TESTS     = $(patsubst dev/tests/%.c,$(BUILD)/tests/%,$(wildcard dev/tests/test_*.c))

all: train_gpt train_gpt_cpu

train_gpt: $(BUILD)/train/launch.o
	$(CC) $(ALL_CFLAGS) $^ -o $@

train_gpt_cpu: $(BUILD)/train/main.o $(OBJECTS)
	$(CC) $(ALL_CFLAGS) $^ -o $@ $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/tests/%: $(BUILD)/dev/tests/%.o $(BUILD)/dev/tests/check.o $(OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $^ -o $@ $(LDLIBS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all
