#!/bin/sh
# faults.sh: runs the faulty programs of bugs.cu, built plainly in three orders of threads and ranks, with lazy streams
# and with all that cuBLAS may do, with AddressSanitizer and UBSan, and with ThreadSanitizer. Prints which of them catch which fault, as the
# table in README.md, and "N passed, N failed": a fault passes if at least one of them catches it, and program 0, which
# has no fault, if none does.
# Takes about a minute. CC, CXX: the compilers.
cd "$(dirname "$0")/../.." || exit 1
bin=$(mktemp -d) || exit 1
trap 'rm -rf "$bin"' EXIT
trap 'exit 1' HUP INT TERM
export ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=halt_on_error=1 OMP_NUM_THREADS=1 CUDA_ON_CPU_NCCL_TIMEOUT=5
# a fault may also make a program hang
limit=
command -v timeout > /dev/null && limit="timeout 60"

build() { # name, flags
    name=$1
    shift
    for source in base/matmul.c base/sgemm.c; do
        ${CC:-cc} -std=c11 -O1 -g "$@" -I. -D_POSIX_C_SOURCE=200809L \
            -c $source -o "$bin/$(basename $source .c).o" || exit 1
    done
    ${CXX:-g++} -x c++ -std=c++17 -O1 -g -Wall -Wextra -ffp-contract=off -fno-strict-aliasing "$@" \
        -Idev/cuda_on_cpu/include -I. -c dev/cuda_on_cpu/bugs.cu -o "$bin/bugs.o" || exit 1
    ${CXX:-g++} "$@" "$bin/bugs.o" "$bin/matmul.o" "$bin/sgemm.o" -o "$bin/$name" -lm || exit 1
}
build plain -fsanitize=alignment
build address -fsanitize=address,undefined -fno-sanitize-recover=undefined
build thread -fsanitize=thread

# What a plain build shows: an error exit, NaN, or another result in another order, with lazy streams or another cuBLAS.
in_orders() { # number
    for order in forward reverse random; do
        CUDA_ON_CPU_ORDER=$order CUDA_ON_CPU_NCCL_ORDER=$order CUDA_ON_CPU_SEED=5 \
            $limit "$bin/plain" "$1" > "$bin/$order" 2> /dev/null ||
            { echo stops; return; }
    done
    CUDA_ON_CPU_STREAMS=lazy $limit "$bin/plain" "$1" > "$bin/lazy" 2> /dev/null || { echo stops; return; }
    ways=
    for way in plain varied fast truncated; do
        CUDA_ON_CPU_CUBLAS=$way $limit "$bin/plain" "$1" > "$bin/cublas" 2> /dev/null || echo stops > "$bin/cublas"
        cmp -s "$bin/forward" "$bin/cublas" || ways="$ways${ways:+, }\`$way\`"
    done
    if grep -q NaN "$bin/forward"; then
        echo NaN
    elif ! cmp -s "$bin/forward" "$bin/reverse" || ! cmp -s "$bin/forward" "$bin/random"; then
        echo orders differ
    elif ! cmp -s "$bin/forward" "$bin/lazy"; then
        echo lazy differs
    elif [ -n "$ways" ]; then
        echo "$ways differs"
    fi
}

sanitized() { # build, number
    CUDA_ON_CPU_ORDER=forward $limit "$bin/$1" "$2" > /dev/null 2>&1 || echo stops
}

passed=0 failed=0
echo "| | fault | plain build | AddressSanitizer, UBSan | ThreadSanitizer |"
echo "| --- | --- | --- | --- | --- |"
while read -r number name; do
    plain=$(in_orders "$number") address=$(sanitized address "$number") thread=$(sanitized thread "$number")
    echo "| $number | $name | ${plain:--} | ${address:--} | ${thread:--} |"
    noticed=$plain$address$thread
    if { [ "$number" -eq 0 ] && [ -z "$noticed" ]; } || { [ "$number" -ne 0 ] && [ -n "$noticed" ]; }; then
        passed=$((passed + 1))
    else
        echo "FAIL  $name"
        failed=$((failed + 1))
    fi
done <<NAMES
$("$bin/plain" list)
NAMES
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
