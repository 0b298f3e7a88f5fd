# machine.sh: what the machine lends: threads and how they wait, quotas of control groups, memory, another CPU.

waits() {
    unset OMP_WAIT_POLICY GOMP_SPINCOUNT KMP_BLOCKTIME
    OMP_DISPLAY_ENV=verbose expect 0 "$gpt" --device cpu --version
    if grep -q KMP_BLOCKTIME err; then
        grep -Eq "KMP_BLOCKTIME='?0(ms)?'?\$" err || fail "$(grep KMP_BLOCKTIME err)"
        return
    fi
    grep -q GOMP_SPINCOUNT err || skip "neither GCC's nor Clang's OpenMP"
    says "GOMP_SPINCOUNT = '1000'" err
    GOMP_SPINCOUNT=77 OMP_DISPLAY_ENV=verbose expect 0 "$gpt" --device cpu --version
    says "GOMP_SPINCOUNT = '77'" err
    OMP_WAIT_POLICY=active OMP_DISPLAY_ENV=verbose expect 0 "$gpt" --device cpu --version
    grep -q "GOMP_SPINCOUNT = '1000'" err && fail "OMP_WAIT_POLICY is not honoured"
    return 0
}
run_test "threads wait briefly, unless the environment says how" waits

# The OpenBLAS of before a CPU's time has only old kernels for it.
kernels() {
    grep -qs ' avx2 ' /proc/cpuinfo || skip "it is about x86-64 with AVX2"
    OPENBLAS_CORETYPE=Prescott expect 0 train --steps 0
    grep -q 'OpenBLAS .*(Prescott)' out || skip "another library serves, or the program was built without AVX2"
    (unset OPENBLAS_CORETYPE; expect 0 train --steps 0) || exit 1
    grep -q 'OpenBLAS .*(Prescott)' out && fail "it keeps them: $(grep OpenBLAS out)"
    true
}
run_test "OpenBLAS has kernels for this CPU, unless the environment says otherwise" kernels

# OpenBLAS's own threads cannot be started there, and the program used to wait for them when it ended.
cramped() {
    command -v timeout > /dev/null || skip "there is no timeout"
    # shellcheck disable=SC3045 # where ulimit has -v
    (ulimit -v 150000 && exec timeout -s KILL 20 "$gpt" --device cpu --version) > out 2> err
    case $? in
    0) ;;
    137) fail "it hangs" ;;
    *) skip "$(head -n 1 err)" ;; # a sanitizer's
    esac
}
run_test "in little memory it ends all the same" cramped

# --- threads and memory: $gpt says "CPU, 2 threads (why), ..." ---

# Runs a model with work for several threads for a step, under a command if one is given; expects the words in its banner.
threads_are() { # words, command...
    words=$1
    shift
    rm -rf run
    expect 0 "$@" "$gpt" --device cpu --layers 1 --heads 1 --width 32 --seq-len 64 --batch-size 16 --steps 1 \
        --val-every 0 --sample-every 0 --out run
    says "$words" out
}

asked() {
    OMP_NUM_THREADS=3 threads_are "CPU, 3 threads, "
    OMP_NUM_THREADS=100000 threads_are "CPU, 128 threads (the most; OMP_NUM_THREADS asks for 100000), "
}
run_test "OMP_NUM_THREADS is honoured, up to 128 threads" asked

bound() {
    unset OMP_NUM_THREADS
    command -v taskset > /dev/null || skip "there is no taskset"
    cpus=$(getconf _NPROCESSORS_ONLN)
    [ "$cpus" -gt 1 ] || skip "there is one CPU"
    threads_are "CPU, 1 thread (affinity to 1 of $cpus CPUs), " taskset -c "$(taskset -cp $$ | sed 's/.*[ ]//; s/[,-].*//')"
}
run_test "there are as many threads as CPUs in the affinity" bound

suits() {
    unset OMP_NUM_THREADS
    [ "$(getconf _NPROCESSORS_ONLN)" -gt 1 ] || skip "there is one CPU"
    expect 0 train --steps 1 --device cpu --out run
    says "CPU, 1 thread (enough for a small model), " out
    expect 0 train --steps 1 --device cpu --threads 2 --out two
    says "CPU, 2 threads, " out
}
run_test "a model too small for several threads gets one" suits

# Makes $group, a control group of version 1 inside this shell's own, with a limit; it goes when the test ends.
make_group() { # controller, file, limit
    own=$(sed -n "s/^[0-9]*:\([a-z_]*,\)*$1\(,[a-z_]*\)*://p" /proc/self/cgroup 2> /dev/null)
    group=/sys/fs/cgroup/$1${own%/}/train_gpt_test_$$
    mkdir "$group" 2> /dev/null || skip "no control group can be made here"
    trap 'rmdir "$group"' EXIT
    (echo "$3" > "$group/$2") 2> /dev/null || skip "no limit can be set here"
}

# shellcheck disable=SC2016 # the inner shell's
enter='echo $$ > "$0/cgroup.procs" && exec "$@"'

quotas() {
    unset OMP_NUM_THREADS
    [ "$(getconf _NPROCESSORS_ONLN)" -gt 1 ] || skip "there is one CPU"
    make_group cpu cpu.cfs_quota_us 50000
    threads_are "CPU, 1 thread (CPU quota 0.5), " sh -c "$enter" "$group"
    echo 110000 > "$group/cpu.cfs_quota_us"
    threads_are "CPU, 2 threads" sh -c "$enter" "$group"
    echo 50000 > "$group/cpu.cfs_quota_us"
    OMP_NUM_THREADS=2 threads_are "CPU, 2 threads, " sh -c "$enter" "$group"
}
run_test "there are as many threads as a control group's quota keeps busy" quotas

too_little() {
    make_group memory memory.limit_in_bytes 299892736
    expect 1 sh -c "$enter" "$group" "$gpt" --device cpu --model gpt2 --steps 1 --out run
    says_all "out of memory: this run needs;and only 0.3 are available" err
}
run_test "a run that is too large for its control group is refused" too_little

# --- the launcher, next to programs that only say their names ---

programs() {
    mkdir bin
    printf '#!/bin/sh\necho cpu "$@"\n' > bin/train_gpt_cpu
    chmod +x bin/train_gpt_cpu
}

# Compiles the launcher for a made-up machine.
source=$(cd "$here/../../.." && pwd)
compile_launcher() { # flag, sed expression
    programs
    sed "$2" "$source/train/launch.c" > launch.c
    ${CC:-cc} -I"$source" "$1" launch.c -o bin/train_gpt 2> log || skip "it does not compile here: $(head -n 1 log)"
}

other_cpu() {
    compile_launcher -DCPU_FEATURES='NEEDS("sse3") NEEDS("xop")' ''
    ! grep -q "^flags.* xop" /proc/cpuinfo || skip "this CPU has xop"
    expect 1 bin/train_gpt --version
    says "train_gpt: train_gpt_cpu was built for a CPU with xop, which this one lacks; run make clean && make here" err
}
run_test "programs built for another CPU are not started" other_cpu

without_proc() {
    compile_launcher -O1 's,/proc/self/exe,/nowhere,'
    PATH=/nowhere::$PWD/bin:$PATH expect 0 train_gpt hello
    says "cpu hello" out
    expect 0 bin/train_gpt hello
    says "cpu hello" out
    cd bin && PATH=/nowhere: expect 0 train_gpt hello
}
run_test "without /proc, its programs are found by the PATH" without_proc

no_gpu() { # what the GPU program does when probed, what is said, the system's device of a GPU, what runs the program
    compile_launcher -O1 "s,/dev/nvidiactl,${3:-/nowhere},; s,/usr/lib/wsl/lib/nvidia-smi,/nowhere,"
    printf '#!%s\n%s\n' "${4:-/bin/sh}" "$1" > bin/train_gpt_cuda
    chmod +x bin/train_gpt_cuda
    expect 0 bin/train_gpt --steps 1
    says "cpu --steps 1" out
    [ "$(cat err)" = "$2" ] || fail "stderr says $(head -n 1 err)"
}

# make's plan with a toolkit that is not in the PATH, and its words where there is a GPU and no toolkit.
makes_for_gpu() {
    PATH=/usr/bin:/bin
    unset MAKEFLAGS MAKEOVERRIDES CUDA CUDA_ARCH NVCC # of the make that runs the tests
    ! command -v nvcc > null || skip "there is an nvcc in $PATH"
    mkdir -p cuda/bin cuda/lib64
    cat > cuda/bin/nvcc << 'END'
#!/bin/sh
case $1 in
--version) echo "Cuda compilation tools, release 13.0, V13.0.88" ;;
--list-gpu-arch) echo compute_90 ;;
esac
END
    chmod +x cuda/bin/nvcc
    : > cuda/lib64/libcublas.so
    sed 's,/dev/nvidiactl,/dev/null,' "$source/Makefile" > Makefile.gpu
    plan() { make -C "$source" -f "$PWD/Makefile.gpu" -n BUILD="$PWD/build" BIN="$PWD" "$@"; }
    expect 0 plan CUDA_HOME="$PWD/cuda"
    says_all "$PWD/cuda/bin/nvcc -std=c++17;-rpath -Xlinker;/cuda/lib64/ -lcublas;code=sm_90" out
    expect 0 plan NVCC=/nowhere/nvcc
    says "there is a GPU, but no nvcc was found (NVCC=...): train_gpt_cuda is not built" out
    ! grep -Fq "train_gpt.cu" out || fail "it plans to compile train_gpt.cu"
}

# make test-gpu with programs that only pretend, on a made-up machine.
pretend_gpu() { # what the GPU program does when probed, what the tests do, the system's device of a GPU
    mkdir -p bin build
    sed "s,/dev/nvidiactl,${3:-/nowhere},; s,/usr/lib/wsl/lib/nvidia-smi,/nowhere," "$source/dev/tests/gpu.sh" > gpu.sh
    chmod +x gpu.sh
    printf '#!/bin/sh\n%s\n' "$1" > bin/train_gpt_cuda
    printf '#!/bin/sh\n%s\n' "$2" > bin/test_gpt_cuda
    chmod +x bin/*
}

unusable_gpu() {
    pretend_gpu 'echo "the driver is old" >&2; exit 1' 'exit 0'
    expect 1 ./gpu.sh bin build
    says "FAIL  there is a GPU, and nothing ran: the driver is old" out
    says "skip  the PyTorch reference: the driver is old" out
}

absent_gpu() {
    pretend_gpu 'echo "there is none" >&2; exit 77' 'exit 0' "$1"
    expect 0 ./gpu.sh bin build
    says "skip  the PyTorch reference: there is none" out
    says "0 passed, 0 failed" out
    rm -r bin
    expect 0 ./gpu.sh bin build
}

silent_gpu() {
    pretend_gpu 'echo "the driver is not installed" >&2; exit 77' 'exit 0' /dev/null
    expect 1 ./gpu.sh bin build
    says "FAIL  there is a GPU, and nothing ran: the driver is not installed" out
    rm -r bin
    expect 1 ./gpu.sh bin build
    says "FAIL  there is a GPU, and nothing ran: train_gpt_cuda was not built" out
}

# A signal while a case runs.
stopped_gpu() {
    pretend_gpu 'exit 0' 'trap "echo > ended; exit" TERM; sleep 60 & echo > begun; wait'
    ./gpu.sh bin build > out &
    tests=$!
    await_lines begun 1
    kill -TERM $tests
    if wait $tests; then fail "it passed"; fi
    await_lines ended 1
}

hanging_gpu() {
    command -v timeout > log || skip "there is no timeout"
    pretend_gpu 'exit 0' 'case $* in *bf16*) echo "no bf16"; exit 77 ;; *tiny*) sleep 60 ;; *) echo fine ;; esac'
    GPU_CASE_SECONDS=1 expect 1 ./gpu.sh bin build
    says "FAIL  the PyTorch reference: it had not ended after 1 seconds" out
    says "skip  the PyTorch reference in bf16, beside PyTorch's own: no bf16" out
    says "ok    llm.c's debug state" out
}

if [ "${DEVICE:-cpu}" = cpu ]; then
    run_test "make finds a CUDA toolkit outside the PATH, and misses it where there is a GPU" makes_for_gpu
    run_test "make test-gpu fails where there is a GPU that cannot be used" unusable_gpu
    CUDA_VISIBLE_DEVICES=0 run_test "make test-gpu fails where a GPU is there that does not answer" silent_gpu
    run_test "make test-gpu without a GPU skips by name" absent_gpu
    CUDA_VISIBLE_DEVICES='' run_test "make test-gpu skips by name where the GPU is hidden" absent_gpu /dev/null
    run_test "make test-gpu is stopped by a signal at once" stopped_gpu
    run_test "make test-gpu ends what hangs" hanging_gpu
    run_test "a GPU program that cannot run says why" no_gpu 'echo "the driver is old" >&2; echo more >&2; exit 1' \
        "train_gpt: the GPU program cannot run (the driver is old); using the CPU"
    run_test "a GPU program that dies is not started" no_gpu 'kill -11 $$' \
        "train_gpt: the GPU program cannot run (it ended with signal 11); using the CPU"
    run_test "a GPU program without its libraries is not started" no_gpu 'echo "libcublas.so: no such file" >&2; exit 127' \
        "train_gpt: the GPU program cannot run (libcublas.so: no such file); using the CPU"
    run_test "a GPU program that fails without a word is spoken of" no_gpu 'exit 3' \
        "train_gpt: the GPU program cannot run (it ended with exit status 3); using the CPU"
    run_test "a GPU program whose first line is empty is understood" no_gpu 'echo >&2; echo "no memory" >&2; exit 1' \
        "train_gpt: the GPU program cannot run (no memory); using the CPU"
    run_test "a GPU program that cannot be started is spoken of" no_gpu '' \
        "train_gpt: the GPU program cannot run (No such file or directory); using the CPU" /nowhere /nowhere/sh
    run_test "without a GPU nothing is said of it" no_gpu 'echo "there is none" >&2; exit 77' ""
    CUDA_VISIBLE_DEVICES=0 run_test "a GPU whose driver is missing is spoken of" no_gpu 'echo "the driver is not installed" >&2; exit 77' \
        "train_gpt: the GPU program cannot run (the driver is not installed); using the CPU" /dev/null
    CUDA_VISIBLE_DEVICES='' run_test "of a GPU that is hidden nothing is said" no_gpu 'echo "there is none" >&2; exit 77' "" \
        /dev/null
else
    probe() {
        CUDA_ON_CPU_DRIVER=12000 expect 1 "$gpt" --probe
        says "update the driver" err
        CUDA_ON_CPU_CAPABILITY=7.0 expect 1 "$gpt" --probe
        says "capability 7.0" err
        CUDA_ON_CPU_ARCH=90 CUDA_ON_CPU_CAPABILITY=8.0 expect 1 "$gpt" --probe
        says "make CUDA_ARCH=80" err
        CUDA_ON_CPU_DEVICES=0 expect 77 "$gpt" --probe
        says "no GPU answers" err
        expect 0 "$gpt" --probe
    }
    run_test "GPU: --probe says why it cannot run, and whether there is any" probe
fi
