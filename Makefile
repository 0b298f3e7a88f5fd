# make                builds ./train_gpt (a launcher), ./train_gpt_cpu and, if nvcc is installed, ./train_gpt_cuda
# make speedrun       trains a small GPT with AdamW and with Muon: a table, a picture, samples
# make test           every test; SAN=1 under AddressSanitizer and UBSan
# make test T=muon    only test programs with that in their name, or else cases; and the command's tests so named
# make test-gpu       tests that need a GPU; without one each is skipped, by name
# make test-network   ranks as hosts in network namespaces: Linux, root and iproute2; else each test is skipped, by name
# make test-faults    plants faults in a copy of the tree, one at a time; the tests must catch each
# make bench          speed and memory, next to PyTorch's if it is installed and llm.c's with LLMC=DIR; BENCH='--help'
# make bench-gpu      every kernel, steps with AdamW and Muon, and PyTorch's, on a GPU; without one, counts alone
# make bench-optim    every optimizer's step on GPT-2's matrices, against AdamW's and against the least it could take
# make bench-ranks    several ranks on this machine's CPUs against one: speed, bits, memory, bytes; Muon's share by rank
# make bench-models   what the records' architectures cost, beside classic GPT-2 of the same size
# make bench-tokenizer TABLES=DIR TEXT=FILE   the tokenizer's speed on a text and on code, next to others'
# make huggingface    checkpoints against transformers' GPT-2, Llama and Qwen3, both ways, and llm.c's model files
# make tensorboard    event files read by TensorBoard, against metrics.csv
# make bench-contention   what busy neighbours on the cores cost a step, by how OpenMP's threads wait
# make judge MODEL=DIR SHARD=FILE   your checkpoint on your tokens, against transformers: logits, gradients, decoding
# make reference      rebuilds the PyTorch reference files and diffs the model against them
# make curves SHARDS='shards/*.bin'   small runs of the presets next to PyTorch's, loss by loss: build/curves/curves.png
# make ladder TEXT=book.txt   the records at nano size, in order, rates swept, in runs/ladder
# make tokenizer-judge TABLES=DIR   the tokenizer against tiktoken, with GPT-2's encoder.json and vocab.bpe in DIR
# make judges         rebuilds the file that the tests hold every optimizer against (PyTorch, NumPy)
# make sweep          the search behind it: rates, decay and schedule of both, hours; dev/sweep --help
# make anchors TEXT=shakespeare.txt   published numbers beside ours, in minutes; dev/anchors --help
# make diagnose       pictures of the singular values of gradients and updates, with AdamW and with Muon
# make rules          a short run of every optimizer at its default rates: a table, a picture
# make lab            optimizers on linear regression, for dev/lab/README.md
# make orthogonalisation   Newton-Schulz variants compared, for dev/orthogonalisation/README.md
# make pages          puts numbers of these two pages and of the README right, from their tables; CHECK=1 only compares
# make stories        writes the built-in corpus to stories.txt
# make convert_llmc   ./convert_llmc, between llm.c's model files and Hugging Face directories
# make fuzz           feeds the file parsers mutated input (clang); FUZZ_SECONDS=60
# make headers        compiles each header alone
# make debug          build/debug/train_gpt_cpu, unoptimised, for a debugger
# make compile_commands   writes compile_commands.json, for clangd
# make format         clang-format 14 over the tree
# make man            the manual page, build/share/man/man1/train_gpt.1
# make install        into PREFIX=/usr/local, below DESTDIR: programs, manual page, completion for bash, zsh and fish
# make clean          removes everything that make built
#
# CUDA_ARCH='80 90' (else that of the GPUs here, or without one 75 80 90 100 120; the last also as PTX, for later GPUs),
# NVCC=nvcc, CUDA=auto|no, CC=clang, CFLAGS='-O3 -march=native', MPI=auto|no, MPICC=mpicc, NCCL_HOME=DIR, PYTHON=python3,
# BLAS=auto|openblas|builtin for products (auto: measures which is faster here),
# BUILD=build for objects, BIN=. for programs: with both elsewhere, the sources may be read-only

CC     ?= cc
CFLAGS ?= -O3 -march=native
PYTHON ?= python3
CXX    ?= c++
NVCC   ?= nvcc
CUDA   ?= auto
BLAS   ?= auto
MPI    ?= auto
MPICC  ?= mpicc
SAN    ?= 0
PREFIX ?= /usr/local
# A test's name, from the command line alone, never from the environment.
T =

# Contraction is off so that the same expressions give the same bits everywhere; code that wants fused multiply-adds
# says fmaf. Never -ffast-math: a NaN must stay visible.
STRICT   = -std=c11 -ffp-contract=off -fno-math-errno -fno-trapping-math
WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wdouble-promotion -Wvla \
           -Wno-missing-field-initializers $(if $(OPENMP),,-Wno-unknown-pragmas -Wno-unused-function)
override CPPFLAGS += -I. -D_POSIX_C_SOURCE=200809L -D_DARWIN_C_SOURCE
LDLIBS   = -lm -lpthread

comma := ,

# Where objects and programs go.
BUILD = build
BIN   = .
ifeq ($(SAN),1)
  BUILD := build/san
  BIN   := build/san
  SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
  CFLAGS = -O1 -g -march=native $(SANITIZE)
  EMULATED_CFLAGS = -O1 -g $(SANITIZE)
  CUDA = no
endif
# Without -g, which would be a fifth of the time that compiling takes.
EMULATED_CFLAGS ?= -O2

$(shell mkdir -p $(BUILD))

# What the programs ask of a CPU, for the launcher to check: by GCC's and clang's names, "avx2", "sse4.1".
DEFINED = $(CC) $(CFLAGS) -dM -E -x c /dev/null 2>/dev/null
CPU_FEATURES := $(shell $(DEFINED) | sed -nE 's/^.define __(S?SSE[34]|SSE4_[12]|POPCNT|AVX2?|FMA|BMI2?|AVX512(F|CD|BW|DQ|VL|V?IFMA|VBMI2?|BITALG|VNNI|VPOPCNTDQ|BF16))__ 1$$/\1/p' | sort | tr A-Z_ a-z.)

# OpenMP and OpenBLAS, found by linking a program with each and running it. Without OpenMP there is one thread.
probe = $(shell p=$(BUILD)/probe.$$$$; $(CC) $(1) -o $$p $(2) 2>/dev/null && $$p 2>/dev/null && echo $(3); rm -f $$p)
OPENMP := $(call probe,-fopenmp dev/probe_openmp.c,,-fopenmp)
ifneq ($(BLAS),builtin)
  OPENBLAS_CFLAGS := $(shell pkg-config --cflags openblas 2>/dev/null)
  OPENBLAS_LIBS   := $(shell pkg-config --libs openblas 2>/dev/null || echo -lopenblas)
  HAVE_OPENBLAS   := $(call probe,$(OPENBLAS_CFLAGS) dev/probe_blas.c,$(OPENBLAS_LIBS),1)
  ifeq ($(HAVE_OPENBLAS),1)
    override CPPFLAGS += -DHAVE_OPENBLAS $(OPENBLAS_CFLAGS)
    LDLIBS := $(OPENBLAS_LIBS) $(LDLIBS)
    # Which multiplies is measured once for a compiler, its flags, a CPU and what OpenBLAS is told of it.
    SPEED_KEY := $(shell (echo '$(CC) $(CFLAGS) $(LDLIBS) $(OPENBLAS_CORETYPE)'; $(DEFINED)) | cksum)
    MULTIPLIES := $(if $(filter auto,$(BLAS)),$(if $(filter 1,$(SAN)),builtin,$(shell sed -n 's/^$(SPEED_KEY) //p' $(BUILD)/multiplies 2>/dev/null)),$(BLAS))
    ifeq ($(MULTIPLIES),)
      MULTIPLIES := $(shell p=$(BUILD)/probe.$$$$; $(CC) $(CPPFLAGS) $(STRICT) $(OPENMP) $(CFLAGS) dev/probe_sgemm.c base/sgemm.c \
        base/threads.c base/cgroup.c -o $$p $(LDLIBS) 2>/dev/null && $$p; rm -f $$p)
      ifneq ($(MULTIPLIES),)
        $(shell echo '$(SPEED_KEY) $(MULTIPLIES)' > $(BUILD)/multiplies)
        $(info products by $(if $(filter openblas,$(MULTIPLIES)),OpenBLAS,the built-in sgemm): OpenBLAS has $(lastword $(MULTIPLIES)) times the built-in's speed here (BLAS=openblas|builtin chooses))
      else
        $(info products by the built-in sgemm: its speed could not be compared with OpenBLAS's (BLAS=openblas chooses that))
      endif
    endif
    override CPPFLAGS += $(if $(filter openblas,$(MULTIPLIES)),-DOPENBLAS_MULTIPLIES)
  else ifeq ($(BLAS),auto)
    $(info OpenBLAS is not installed: QR and eigenvectors are slower without it$(if $(filter avx512f,$(CPU_FEATURES)),,$(comma) and products may be) (Debian: apt-get install libopenblas-dev))
  else
    $(error BLAS=$(BLAS): OpenBLAS is not installed, or has no cblas.h (Debian: apt-get install libopenblas-dev))
  endif
endif

# MPI, which carries what several ranks tell each other; what its compiler's wrapper would pass on. Without it torchrun
# can start ranks.
ifneq ($(MPI),no)
  MPI_SAYS   := $(shell $(MPICC) -show 2>/dev/null)
  MPI_CFLAGS := $(filter -I% -D%,$(MPI_SAYS))
  MPI_LIBS   := $(filter -L% -l% -Wl%,$(MPI_SAYS))
  HAVE_MPI   := $(if $(MPI_SAYS),$(call probe,$(MPI_CFLAGS) dev/probe_mpi.c,$(MPI_LIBS),1))
  ifeq ($(HAVE_MPI),1)
    LDLIBS := $(MPI_LIBS) $(LDLIBS)
  endif
endif

# What data/tokenize can decompress.
ZLIB_LIBS := $(call probe,dev/probe_zlib.c,-lz,-lz)
ZSTD_LIBS := $(call probe,dev/probe_zstd.c,-lzstd,-lzstd)

# A judge in the tests alone.
PCRE2_LIBS := $(call probe,dev/probe_pcre2.c,-lpcre2-8,-lpcre2-8)

ALL_CFLAGS = $(STRICT) $(OPENMP) $(CFLAGS) $(WARNINGS) $(WERROR)

# The CUDA twin, compiled if there is an nvcc; its parts take the places of CPU_ONLY.
NVCC_FOUND := $(if $(filter no,$(CUDA)),,$(shell PATH="$$PATH:$(CUDA_HOME)/bin:/usr/local/cuda/bin"; command -v $(firstword $(NVCC))))
ifneq ($(NVCC_FOUND),)
  override NVCC := $(strip $(NVCC_FOUND) $(wordlist 2,99,$(NVCC)))
  CUDA_TOOLS := PATH="$$PATH:$(patsubst %/,%,$(dir $(NVCC_FOUND)))" # compute-sanitizer, cuobjdump
else ifneq ($(CUDA),no)
  $(if $(wildcard /dev/nvidiactl /usr/lib/wsl/lib/nvidia-smi),$(info there is a GPU, but no nvcc was found (NVCC=...): train_gpt_cuda is not built))
endif
# release 12.8 as 1208
NVCC_VERSION := $(if $(NVCC_FOUND),$(shell $(NVCC) --version | sed -n 's/.*release \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | \
                                          awk '{ print 100 * $$1 + $$2 }'))
HAVE_NVCC := $(if $(NVCC_FOUND),$(shell [ "$(NVCC_VERSION)" -ge 1208 ] 2>/dev/null && echo $(NVCC_FOUND)))
ifneq ($(NVCC_FOUND),$(HAVE_NVCC))
  $(info $(NVCC_FOUND) is older than CUDA 12.8: train_gpt_cuda is not built)
endif
# For the GPUs that are here, or any that a CUDA program may meet.
ifeq ($(origin CUDA_ARCH)$(if $(HAVE_NVCC),,no),undefined)
  KNOWN_ARCH := $(patsubst compute_%,%,$(filter compute_%,$(shell $(NVCC) --list-gpu-arch)))
  CUDA_ARCH  := $(or $(filter-out 5% 6% 70 72,$(filter $(KNOWN_ARCH),\
                  $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -d . | sort -nu))),\
                  $(filter $(KNOWN_ARCH),75 80 90 100 120))
endif
# Of several GPUs; NCCL_HOME where it is none of the toolkit's and the system's.
NCCL_HEADER := $(firstword $(wildcard $(NCCL_HOME:%=%/include/nccl.h) /usr/include/nccl.h \
                 $(patsubst %/bin/,%,$(dir $(realpath $(firstword $(NVCC)))))/include/nccl.h))
NCCL_LIBS   := $(if $(NCCL_HEADER),$(if $(NCCL_HOME),-L$(NCCL_HOME)/lib -Xlinker -rpath -Xlinker $(NCCL_HOME)/lib) -lnccl)
FLASH = gpt/cuda/flash_forward.cu gpt/cuda/flash_backward.cu
CUDA_SOURCES = train_gpt.cu comm/arena_cuda.cu gpt/cuda/attention.cu $(FLASH) \
               optim/rules/elements_cuda.cu optim/verbs/factor_cuda.cu optim/verbs/verbs_cuda.cu
CPU_ONLY = train_gpt.c comm/arena_cpu.c optim/rules/elements_cpu.c optim/verbs/verbs_cpu.c optim/verbs/factor_cpu.c
LATEST_ARCH = $(lastword $(CUDA_ARCH))
NVCC_FLAGS = -std=c++17 -O3 --threads 0 --extended-lambda --fmad=false -I. -Ibase/cuda -Xcompiler -Wall,-Wextra $(if $(WERROR),-Werror all-warnings) \
             $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
             -gencode arch=compute_$(LATEST_ARCH),code=compute_$(LATEST_ARCH)

# The same files compiled for the CPU, by dev/cuda_on_cpu. Contraction is off there too.
EMULATED = -x c++ -std=c++17 -ffp-contract=off -fno-strict-aliasing -fsanitize=alignment -Wall -Wextra -Wno-unknown-pragmas \
           -Idev/cuda_on_cpu/include -I. $(OPENMP)

MAINS    = train/main.c train/launch.c train/convert_llmc.c data/make_stories.c
ROOMS    = base comm files data gpt optim optim/rules optim/verbs train
TOKENIZE = $(wildcard data/tokenize.c data/tokenize_*.c)
SOURCES  = train_gpt.c $(filter-out $(MAINS) $(TOKENIZE),$(wildcard $(ROOMS:%=%/*.c)))
OBJECTS  = $(SOURCES:%.c=$(BUILD)/%.o)
PROGRAMS = $(BIN)/train_gpt $(BIN)/train_gpt_cpu $(if $(HAVE_NVCC),$(BIN)/train_gpt_cuda)
SHARED_OBJECTS = $(filter-out $(CPU_ONLY:%.c=$(BUILD)/%.o),$(OBJECTS))
CUDA_OBJECTS = $(CUDA_SOURCES:%.cu=$(BUILD)/cuda/%.o) $(SHARED_OBJECTS)
EMULATED_OBJECTS = $(CUDA_SOURCES:%.cu=$(BUILD)/emulated/%.o) $(SHARED_OBJECTS)
HAVE_CXX := $(shell echo 'int main() {}' | $(CXX) -std=c++17 -x c++ - -o /dev/null 2>/dev/null && echo 1)
EMULATED_TESTS = $(if $(HAVE_CXX),$(addprefix $(BUILD)/emulated/,test_emulator test_flash test_nccl test_checks test_products test_large test_gpt_cuda \
                   test_judges test_bit_equal test_newton_schulz test_qk_clip test_verbs bench train_gpt_cuda))
# These lead the linker's calls past a counter, which not every linker can.
SYSTEM  := $(shell uname -s)
WRAPPED := $(if $(filter Darwin,$(SYSTEM)),dev/tests/test_update_flops.c)
TESTS    = $(patsubst dev/tests/%.c,$(BUILD)/tests/%,$(filter-out $(WRAPPED),$(wildcard dev/tests/test_*.c))) \
           $(if $(filter 1,$(HAVE_OPENBLAS)),$(BUILD)/tests/test_matmul_openblas)
REFERENCE_PARTS = $(addprefix $(BUILD)/dev/reference/,reference_file.o llmc_state.o verdict.o)
LAB      = $(wildcard dev/lab/*.c)
# Among these, kernels.cu includes train_gpt.cu.
BENCH_CUDA = $(wildcard dev/bench/cuda/*.cu)
TEST_PARTS = $(patsubst %.c,$(BUILD)/%.o,$(filter-out dev/tests/test_%.c,$(wildcard dev/tests/*.c)))

all: $(PROGRAMS) $(BIN)/data/tokenize

# Objects depend on the flags too: another BLAS or compiler, or with -march=native another CPU, rebuilds them.
FLAGS := $(CC) $(CPPFLAGS) $(MPI_CFLAGS) $(ALL_CFLAGS) $(LDLIBS) $(PCRE2_LIBS) $(ZLIB_LIBS) $(ZSTD_LIBS) $(HAVE_NVCC) $(NVCC_FLAGS) $(NCCL_LIBS) $(CXX) $(EMULATED) \
        $(EMULATED_CFLAGS) $(shell $(DEFINED) | cksum)
$(shell echo '$(FLAGS)' | cmp -s - $(BUILD)/flags || echo '$(FLAGS)' > $(BUILD)/flags)

# What --version and records of runs call the source. A commit rebuilds this object alone.
PRODUCT = $(wildcard Makefile $(foreach suffix,c h cu cuh,*.$(suffix) $(ROOMS:%=%/*.$(suffix)) $(ROOMS:%=%/cuda/*.$(suffix))))
SOURCE := $(or $(if $(wildcard .git),$(shell git describe --always --dirty --abbrev=10 2>/dev/null)),$\
               cksum-$(firstword $(shell cat $(sort $(PRODUCT)) | cksum)))
$(shell echo '$(SOURCE)' | cmp -s - $(BUILD)/source || echo '$(SOURCE)' > $(BUILD)/source)
# presets/ as C: a name and a text for each file.
$(BUILD)/presets.inc: $(wildcard presets/*) $(BUILD)/flags
	@for f in $(wildcard presets/*); do \
	  printf '{"%s",\n' "$$(basename $$f)"; sed 's/[\\"]/\\&/g; s/.*/ "&\\n"/' $$f; echo '},'; done > $@
$(BUILD)/train/presets.o: $(BUILD)/presets.inc
$(BUILD)/train/presets.o: override CPPFLAGS += -I$(BUILD)

$(BUILD)/cuda/comm/arena_cuda.o: override NVCC_FLAGS += $(if $(NCCL_HEADER),-DHAVE_NCCL -I$(dir $(NCCL_HEADER)))
$(BUILD)/emulated/comm/arena_cuda.o: override EMULATED += -DHAVE_NCCL
$(BUILD)/comm/mpi.o: override CPPFLAGS += $(if $(HAVE_MPI),-DHAVE_MPI $(MPI_CFLAGS))
$(BUILD)/train/version.o: override CPPFLAGS += -DTRAIN_GPT_SOURCE='"$(SOURCE)"' -DTRAIN_GPT_CFLAGS='"$(strip $(STRICT) $(OPENMP) $(CFLAGS))"'
$(BUILD)/train/version.o: $(BUILD)/source

COMPILE = @mkdir -p $(@D); echo "  CC    $<"; $(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/%.o: %.c $(BUILD)/flags
	$(COMPILE)

$(BUILD)/cuda/%.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  NVCC  $<"
	@$(NVCC) $(NVCC_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/emulated/%.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CXX   $< (for the CPU)"
	@$(CXX) $(EMULATED) $(EMULATED_CFLAGS) -MMD -MP -c $< -o $@

# The toolkit's libraries need not be where the loader looks.
TOOLKIT = $(patsubst %/bin/,%,$(dir $(realpath $(HAVE_NVCC))))
CUDA_LIBRARIES = $(firstword $(dir $(wildcard $(TOOLKIT)/lib64/libcublas.so $(TOOLKIT)/targets/*/lib/libcublas.so)))
LINK_CUDA = @mkdir -p $(@D); echo "  LINK  $@"; $(NVCC) $(filter %.o,$^) -o $@ $(if $(OPENMP),-Xcompiler -fopenmp) \
            $(if $(CUDA_LIBRARIES),-Xlinker -rpath -Xlinker $(CUDA_LIBRARIES)) -lcublas -lcublasLt -lcusolver $(subst $(comma), -Xlinker ,$(patsubst -Wl$(comma)%,-Xlinker %,$(LDLIBS))) $(NCCL_LIBS)
LINK_EMULATED = @mkdir -p $(@D); echo "  LINK  $@"; $(CXX) $(OPENMP) $(EMULATED_CFLAGS) $(filter %.o,$^) -o $@ $(LDLIBS)
LINK = @mkdir -p $(@D); echo "  LINK  $@"; $(CC) $(ALL_CFLAGS) $(filter %.o,$^) -o $@ $(LDLIBS)

# The launcher starts on every CPU, to say which one the others were built for.
$(BIN)/train_gpt $(BUILD)/train/launch.o: override CFLAGS := $(filter-out $(filter-out -m32 -m64,$(filter -m%,$(CFLAGS))),$(CFLAGS))
$(BUILD)/train/launch.o: override CPPFLAGS += -DCPU_FEATURES='${CPU_FEATURES:%=NEEDS("%")}'
$(BIN)/train_gpt: override LDLIBS :=
$(BIN)/train_gpt: $(BUILD)/train/launch.o
	$(LINK)
$(BIN)/train_gpt_cpu: $(BUILD)/train/main.o $(OBJECTS)
	$(LINK)
$(BIN)/test_gpt_cpu: $(BUILD)/test_gpt.o $(REFERENCE_PARTS) $(OBJECTS)
	$(LINK)
$(BIN)/train_gpt_cuda: $(BUILD)/train/main.o $(CUDA_OBJECTS)
	$(LINK_CUDA)
$(BIN)/test_gpt_cuda: $(BUILD)/test_gpt.o $(REFERENCE_PARTS) $(CUDA_OBJECTS)
	$(LINK_CUDA)
# It uses warp reductions, which need sm_80.
$(BUILD)/cuda/dev/cuda_on_cpu/test_emulator.o: override CUDA_ARCH := $(or $(filter-out 75,$(CUDA_ARCH)),80)
$(BUILD)/cuda/test_emulator: $(BUILD)/cuda/dev/cuda_on_cpu/test_emulator.o $(BUILD)/dev/tests/check.o \
                             $(BUILD)/base/matmul.o $(BUILD)/base/sgemm.o $(BUILD)/base/environment.o
	$(LINK_CUDA)
$(BUILD)/cuda/test_flash: $(BUILD)/cuda/dev/cuda_on_cpu/test_flash.o $(FLASH:%.cu=$(BUILD)/cuda/%.o) \
                          $(BUILD)/dev/tests/check.o $(BUILD)/base/environment.o
	$(LINK_CUDA)
$(addprefix $(BUILD)/cuda/,test_judges test_bit_equal test_newton_schulz test_qk_clip test_verbs): \
$(BUILD)/cuda/%: $(BUILD)/dev/tests/%.o $(TEST_PARTS) $(CUDA_OBJECTS)
	$(LINK_CUDA)
$(BUILD)/emulated/train_gpt_cuda: $(BUILD)/train/main.o $(EMULATED_OBJECTS)
	$(LINK_EMULATED)
$(BUILD)/emulated/test_gpt_cuda: $(BUILD)/test_gpt.o $(REFERENCE_PARTS) $(EMULATED_OBJECTS)
	$(LINK_EMULATED)
$(BUILD)/emulated/test_emulator: $(BUILD)/emulated/dev/cuda_on_cpu/test_emulator.o $(BUILD)/dev/tests/check.o \
                                  $(BUILD)/base/matmul.o $(BUILD)/base/sgemm.o $(BUILD)/base/environment.o
	$(LINK_EMULATED)
$(BUILD)/emulated/test_nccl: $(BUILD)/emulated/dev/cuda_on_cpu/test_nccl.o $(BUILD)/dev/tests/check.o \
                              $(BUILD)/base/matmul.o $(BUILD)/base/sgemm.o $(BUILD)/base/environment.o
	$(LINK_EMULATED)
$(BUILD)/emulated/test_flash: $(BUILD)/emulated/dev/cuda_on_cpu/test_flash.o $(FLASH:%.cu=$(BUILD)/emulated/%.o) \
                              $(BUILD)/dev/tests/check.o $(BUILD)/base/environment.o
	$(LINK_EMULATED)
$(addprefix $(BUILD)/emulated/,test_judges test_bit_equal test_newton_schulz test_qk_clip test_verbs): \
$(BUILD)/emulated/%: $(BUILD)/dev/tests/%.o $(TEST_PARTS) $(EMULATED_OBJECTS)
	$(LINK_EMULATED)
$(BUILD)/cuda/test_products: $(BUILD)/cuda/dev/cuda_on_cpu/test_products.o $(BUILD)/dev/tests/check.o $(CUDA_OBJECTS)
	$(LINK_CUDA)
$(BUILD)/emulated/test_products: $(BUILD)/emulated/dev/cuda_on_cpu/test_products.o $(BUILD)/dev/tests/check.o \
                                 $(EMULATED_OBJECTS)
	$(LINK_EMULATED)
$(BUILD)/emulated/test_checks: $(BUILD)/emulated/dev/cuda_on_cpu/test_checks.o $(BUILD)/dev/tests/check.o \
                               $(addprefix $(BUILD)/base/,matmul.o sgemm.o environment.o eigh.o)
	$(LINK_EMULATED)
$(BUILD)/cuda/test_large: $(BUILD)/dev/cuda_on_cpu/test_large.o $(BUILD)/dev/reference/verdict.o $(CUDA_OBJECTS)
	$(LINK_CUDA)
$(BUILD)/emulated/test_large: $(BUILD)/dev/cuda_on_cpu/test_large.o $(BUILD)/dev/reference/verdict.o $(EMULATED_OBJECTS)
	$(LINK_EMULATED)
$(BUILD)/cuda/bench: $(BENCH_CUDA:%.cu=$(BUILD)/cuda/%.o) $(filter-out %/train_gpt.o,$(CUDA_OBJECTS))
	$(LINK_CUDA)
$(BUILD)/emulated/bench: $(BENCH_CUDA:%.cu=$(BUILD)/emulated/%.o) $(filter-out %/train_gpt.o,$(EMULATED_OBJECTS))
	$(LINK_EMULATED)
$(BUILD)/data/tokenize_stream.o: override CPPFLAGS += $(if $(ZLIB_LIBS),-DHAVE_ZLIB) $(if $(ZSTD_LIBS),-DHAVE_ZSTD)
$(BIN)/data/tokenize: override LDLIBS := $(ZLIB_LIBS) $(ZSTD_LIBS) $(LDLIBS)
$(BIN)/data/tokenize: $(TOKENIZE:%.c=$(BUILD)/%.o) $(OBJECTS)
	$(LINK)
$(BIN)/make_stories: $(BUILD)/data/make_stories.o $(OBJECTS)
	$(LINK)
$(BIN)/convert_llmc: $(BUILD)/train/convert_llmc.o $(OBJECTS)
	$(LINK)
# Its products are those that the program asks for: GNU's linker, and those like it, let the bench listen, and a test.
ifneq ($(SYSTEM),Darwin)
COUNTED = $(addprefix verb_,product gram gram_average polynomial commuting_product apply solve_upper qr eigenbasis root polar \
            bf16_product bf16_gram bf16_commuting_product)
$(BUILD)/tests/test_update_flops: override LDLIBS := $(COUNTED:%=-Wl,--wrap=%) $(LDLIBS)
$(BUILD)/bench: override LDLIBS := $(foreach f,matmul matmul_symmetric matmul_here,-Wl,--wrap=$(f)) $(LDLIBS)
$(BUILD)/dev/bench/bench_products.o: override CPPFLAGS += -DBENCH_WRAPS
endif
$(BUILD)/bench: $(addprefix $(BUILD)/dev/bench/,bench.o bench_peak.o bench_products.o bench_rivals.o bench_serve.o) $(OBJECTS)
	$(LINK)
# llm.c's functions, with llm.c's own flags.
$(BUILD)/bench_llmc: dev/bench/bench_llmc.c $(LLMC)/train_gpt2.c
	@echo "  CC    $< with $(LLMC)"
	@$(CC) -Ofast -march=native -w $(if $(OPENMP),$(OPENMP) -DOMP) -I$(LLMC) $< -o $@ -lm
$(BUILD)/bench_ranks: $(BUILD)/dev/bench/bench_ranks.o $(OBJECTS)
	$(LINK)
$(BUILD)/bench_optim: $(BUILD)/dev/bench/bench_optim.o $(BUILD)/dev/bench/bench_peak.o $(OBJECTS)
	$(LINK)
$(BUILD)/bench_models: $(BUILD)/dev/bench/bench_models.o $(OBJECTS)
	$(LINK)
$(BUILD)/bench_tokenizer: $(BUILD)/dev/bench/bench_tokenizer.o $(OBJECTS)
	$(LINK)
$(BUILD)/orthogonalisation: $(BUILD)/dev/orthogonalisation/compare.o $(OBJECTS)
	$(LINK)
$(BUILD)/write_reference: $(BUILD)/dev/reference/write_reference.o $(OBJECTS)
	$(LINK)
$(BUILD)/encode_strings: $(BUILD)/dev/reference/encode_strings.o $(OBJECTS)
	$(LINK)
$(BUILD)/write_batches: $(BUILD)/dev/reference/write_batches.o $(OBJECTS)
	$(LINK)
$(BUILD)/lab: $(LAB:%.c=$(BUILD)/%.o) $(BUILD)/dev/tests/check.o $(OBJECTS)
	$(LINK)
ifneq ($(PCRE2_LIBS),)
$(BUILD)/dev/tests/test_gpt2_pattern.o: override CPPFLAGS += -DHAVE_PCRE2
$(BUILD)/tests/test_gpt2_pattern: override LDLIBS := $(PCRE2_LIBS) $(LDLIBS)
endif
$(BUILD)/tests/test_llmc: $(BUILD)/dev/reference/llmc_state.o
# OpenBLAS's products, also where the built-in sgemm multiplies.
$(BUILD)/openblas/base/matmul.o: override CPPFLAGS += -DOPENBLAS_MULTIPLIES
$(BUILD)/openblas/%.o: %.c $(BUILD)/flags
	$(COMPILE)
$(BUILD)/tests/test_matmul_openblas: $(BUILD)/dev/tests/test_matmul.o $(TEST_PARTS) $(BUILD)/openblas/base/matmul.o \
                                     $(filter-out $(BUILD)/base/matmul.o,$(OBJECTS))
	$(LINK)
$(BUILD)/tests/%: $(BUILD)/dev/tests/%.o $(TEST_PARTS) $(OBJECTS)
	$(LINK)

# For the command's tests: a shell's and a terminal's part, and calls that fail.
$(BUILD)/harness: dev/tests/cli/harness.c $(BUILD)/flags
	@echo "  CC    $<"
	@$(CC) -std=c11 -O1 $(WARNINGS) $< -o $@
$(BUILD)/failing.so: dev/tests/cli/failing.c $(BUILD)/flags
	@echo "  CC    $<"
	@$(CC) -std=c11 -O1 -Wall -Wextra -fPIC -shared $< -o $@ -ldl || rm -f $@
HELPERS = $(BUILD)/harness $(if $(findstring 1,$(SAN)),,$(BUILD)/failing.so)

# With T: the test programs that it names, or else all those whose cases can be chosen; and the command's tests.
ALL_TESTS = $(BIN)/test_gpt_cpu $(TESTS) $(BUILD)/lab $(EMULATED_TESTS)
NAMED = $(strip $(foreach test,$(ALL_TESTS), \
          $(if $(findstring $(T:test_%=%),$(patsubst test_%,%,$(notdir $(test)))),$(test))))
WITH_CASES = $(TESTS) $(BUILD)/lab $(filter %/test_emulator %/test_flash %/test_nccl %/test_checks %/test_products,$(EMULATED_TESTS))
CHOSEN = $(or $(NAMED),$(WITH_CASES)) $(BIN)/train_gpt $(if $(findstring GPU,$(T))$(findstring ranks,$(T)),$(filter %/train_gpt_cuda,$(EMULATED_TESTS)))

test: $(if $(T),$(CHOSEN) $(BIN)/train_gpt_cpu,$(PROGRAMS) $(ALL_TESTS) $(if $(HAVE_NVCC),$(BIN)/test_gpt_cuda)) \
      $(BIN)/data/tokenize $(BUILD)/write_reference $(BIN)/convert_llmc $(HELPERS) $(if $(T),,$(BUILD)/bench)
	@$(if $(T),$(if $(NAMED),,CHECK_ONLY="$$T")) dev/tests/run.sh $(BIN) $(BUILD) $(if $(T),"$$T" $(CHOSEN))

test-gpu: $(PROGRAMS) $(BUILD)/write_reference $(if $(HAVE_NVCC),$(BIN)/test_gpt_cuda \
          $(addprefix $(BUILD)/cuda/,test_emulator test_flash test_products test_large test_judges test_bit_equal test_newton_schulz test_qk_clip test_verbs))
	$(CUDA_TOOLS) dev/tests/gpu.sh $(BIN) $(BUILD)

test-network: $(PROGRAMS)
	dev/tests/network.sh $(BIN)/train_gpt

test-faults:
	dev/tests/faults.sh
	dev/cuda_on_cpu/faults.sh

speedrun: $(PROGRAMS)
	dev/speedrun/speedrun.sh

sweep: $(PROGRAMS)
	dev/sweep dev/speedrun/space.toml

anchors: $(PROGRAMS) $(BUILD)/orthogonalisation
	dev/anchors $(if $(TEXT),--text '$(TEXT)')

diagnose: $(PROGRAMS)
	dev/speedrun/diagnose.sh

lab: $(BUILD)/lab
	dev/lab/run.py --lab $(BUILD)/lab
	$$(dev/python.sh matplotlib) dev/lab/plot.py

orthogonalisation: $(PROGRAMS) $(BUILD)/orthogonalisation
	dev/orthogonalisation/run.sh

pages:
	python=$$(dev/python.sh scipy numpy) && PYTHONPATH=dev "$$python" -m pages $(if $(CHECK),--check)

rules: $(PROGRAMS) $(BUILD)/bench_optim
	$(BUILD)/bench_optim --least > $(BUILD)/costs.csv
	dev/speedrun/rules.sh --costs $(BUILD)/costs.csv

# LLMC: a folder with llm.c's sources, which are not part of the project. BENCH: options, --help lists them.
LLMC =
BENCH =
ifneq ($(LLMC)$(wildcard $(LLMC)/train_gpt2.c),$(LLMC))
  BENCH_LLMC = $(BUILD)/bench_llmc
else ifneq ($(LLMC),)
  $(error LLMC=$(LLMC): there is no train_gpt2.c)
endif
bench: $(BUILD)/bench $(BENCH_LLMC)
	dev/bench/bench.sh $(BUILD)/bench '$(BENCH_LLMC)' $(BENCH)

bench-optim: $(BUILD)/bench_optim
	$(BUILD)/bench_optim

bench-models: $(BUILD)/bench_models
	$(BUILD)/bench_models

bench-tokenizer: $(BUILD)/bench_tokenizer
	dev/bench/bench_tokenizer.sh $(BUILD)/bench_tokenizer '$(TABLES)' '$(TEXT)'

bench-ranks: $(PROGRAMS) $(BUILD)/bench_ranks
	dev/bench/ranks.sh $(BIN)/train_gpt_cpu $(BUILD)/bench_ranks

bench-contention: $(PROGRAMS)
	dev/bench/contention.sh $(BIN)/train_gpt

# Without nvcc there is nothing to time, but the emulated program still counts.
bench-gpu: $(if $(HAVE_NVCC),$(BUILD)/cuda/bench,$(BUILD)/emulated/bench)
	$(CUDA_TOOLS) NVCC='$(NVCC)' CUDA_ARCH='$(CUDA_ARCH)' dev/bench/cuda/bench.sh $(if $(HAVE_NVCC),$<,$< --counted)

# SHARDS: GPT-2 tokens, which are not part of the project.
curves: $(BIN)/train_gpt_cpu $(BUILD)/write_batches
	dev/reference/curves.sh '$(SHARDS)'

ladder: $(PROGRAMS)
	@[ -n "$(TEXT)" ] || { echo "make ladder TEXT=book.txt: a text to train on"; exit 2; }
	@mkdir -p runs && sed 's|"TEXT"|"$(TEXT)"|' dev/ladder/space.toml > runs/ladder.toml
	dev/sweep runs/ladder.toml --out runs/ladder
	python=$$(dev/python.sh --find matplotlib || echo python3) && "$$python" dev/ladder/plot.py runs/ladder

huggingface: $(BIN)/train_gpt_cpu $(BUILD)/write_reference $(BIN)/convert_llmc
	@mkdir -p $(BUILD)/huggingface
	python=$$(dev/python.sh torch transformers safetensors) && \
	"$$python" dev/reference/huggingface.py $(BIN)/train_gpt_cpu $(BUILD)/write_reference $(BIN)/convert_llmc $(BUILD)/huggingface && \
	"$$python" dev/reference/evaluate.py $(BIN)/train_gpt_cpu $(BUILD)/evaluate

tensorboard: $(PROGRAMS) $(HELPERS)
	dev/python.sh tensorboard > /dev/null && HELPERS=$(BUILD) dev/tests/cli.sh $(BIN)/train_gpt TensorBoard

judge: $(BIN)/test_gpt_cpu $(BUILD)/write_reference
	@[ -n "$(MODEL)" ] && [ -n "$(SHARD)" ] || { echo "make judge MODEL=DIR SHARD=FILE: a checkpoint and tokens"; exit 2; }
	python=$$(dev/python.sh torch numpy safetensors transformers) && \
	"$$python" dev/reference/judge.py --model '$(MODEL)' --shard '$(SHARD)' $(BUILD)/judge.safetensors
	$(BIN)/test_gpt_cpu $(BUILD)/judge.safetensors

reference: $(BIN)/test_gpt_cpu $(if $(HAVE_CXX),$(BUILD)/emulated/test_gpt_cuda)
	dev/reference/reference.sh

tokenizer-judge: $(BUILD)/encode_strings
	dev/reference/tokenizer.sh $(BUILD)/encode_strings '$(TABLES)'

judges:
	dev/reference/judges.sh

stories: $(BIN)/make_stories
	$(BIN)/make_stories stories.txt

# Each parser's fuzz entry by itself, under AddressSanitizer, from valid input on.
FUZZ_SECONDS ?= 60
FUZZERS = $(patsubst dev/fuzz/fuzz_%.c,%,$(wildcard dev/fuzz/fuzz_*.c))
fuzz: $(FUZZERS:%=fuzz-%)
fuzz-%: $(PROGRAMS) $(BIN)/make_stories
	dev/fuzz/seeds.sh $* $(BUILD)/fuzz/$* $(abspath $(BIN))
	clang $(CPPFLAGS) -I$(BUILD) -std=c11 -O1 -g -fsanitize=fuzzer,address,undefined dev/fuzz/fuzz_$*.c $(SOURCES) -o $(BUILD)/fuzz_$* $(LDLIBS)
	$(BUILD)/fuzz_$* -artifact_prefix=$(BUILD)/fuzz_ -max_total_time=$(FUZZ_SECONDS) $(BUILD)/fuzz/$*

headers:
	@for h in $(wildcard $(ROOMS:%=%/*.h) dev/*/*.h); do \
	  echo "#include \"$$h\"" | $(CC) $(CPPFLAGS) $(STRICT) $(WARNINGS) -Werror -x c -fsyntax-only - || exit 1; done
	@echo "every header compiles alone"

# Unoptimised, so that a debugger sees every variable.
debug:
	@$(MAKE) --no-print-directory BUILD=build/debug BIN=build/debug CFLAGS='-g -O0 -march=native' CUDA=no SAN=0 all

# The C compiler's command lines from a dry run, in the form clangd reads.
COMPILED = $(addprefix $(BIN)/,train_gpt train_gpt_cpu test_gpt_cpu make_stories convert_llmc data/tokenize) $(TESTS) \
           $(addprefix $(BUILD)/,lab bench bench_optim bench_ranks bench_models bench_tokenizer) \
           $(addprefix $(BUILD)/,write_reference write_batches encode_strings orthogonalisation)
compile_commands:
	@{ echo '['; $(MAKE) -nB --no-print-directory $(COMPILED) | sed 's/[\\"]/\\&/g' | \
	  sed -n 's|.* -c \([^ ]*\.c\) -o [^ ]*$$|{"directory": "$(CURDIR)", "file": "\1", "command": "&"},|p' | \
	  sed '$$s/,$$//'; echo ']'; } > $@.json

format:
	git ls-files '*.c' '*.h' '*.cu' '*.cuh' ':!dev/cuda_on_cpu/include' | xargs clang-format -i

# What the program prints of its options, under $(BUILD)/share and PREFIX/share.
PRINTED = man/man1/train_gpt.1 bash-completion/completions/train_gpt zsh/site-functions/_train_gpt \
          fish/vendor_completions.d/train_gpt.fish
man: $(BUILD)/share/man/man1/train_gpt.1
$(BUILD)/share/man/%: PRINT = --man
$(BUILD)/share/bash-completion/%: PRINT = --completion bash
$(BUILD)/share/zsh/%: PRINT = --completion zsh
$(BUILD)/share/fish/%: PRINT = --completion fish
$(PRINTED:%=$(BUILD)/share/%): $(BIN)/train_gpt_cpu
	@mkdir -p $(@D)
	@echo "  PRINT $@"
	@$(abspath $<) $(PRINT) > $@.new && mv $@.new $@

install: $(PROGRAMS) $(PRINTED:%=$(BUILD)/share/%)
	install -d '$(DESTDIR)$(PREFIX)/bin' $(foreach folder,$(dir $(PRINTED)),'$(DESTDIR)$(PREFIX)/share/$(folder)')
	install $(PROGRAMS) '$(DESTDIR)$(PREFIX)/bin'
	for file in $(PRINTED); do install -m 644 $(BUILD)/share/$$file '$(DESTDIR)$(PREFIX)/share/'$$file || exit 1; done

clean:
	rm -rf build compile_commands.json train_gpt train_gpt_cpu train_gpt_cuda test_gpt_cpu test_gpt_cuda \
	       make_stories convert_llmc data/tokenize

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,/^BUILD=/p'

-include $(shell find $(BUILD) -type f -name '*.d' 2>/dev/null)
.PHONY: all test test-gpu test-network test-faults speedrun sweep anchors diagnose rules lab orthogonalisation pages bench bench-optim bench-gpu \
        bench-contention bench-ranks bench-models bench-tokenizer huggingface judge curves ladder reference tokenizer-judge judges stories fuzz \
        headers debug compile_commands format tensorboard man install clean help
.SECONDARY:
