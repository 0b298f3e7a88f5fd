#!/bin/sh
# report.sh [--check] [--short] [FILE.cu...]: what the compiler made of every kernel, one line per architecture:
#
#   regs    registers a thread            LDG128, STG128   loads and stores of 16 bytes
#   threads the most of a block           LDSM             ldmatrix
#   spill   bytes stored and loaded       LDGSTS           cp.async
#   static  shared memory, bytes          LOCAL            loads and stores of local memory
#   HMMA    on tensor cores, HGMMA too
#
# Instructions are counted in the code, not as often as they run; this needs cuobjdump and nvdisasm. "flagged" names
# what should not be there: more registers than a block may have, spills, local memory, or no 16-byte loads or tensor
# cores where WIDE and TENSOR expect them. The threads are those of the launch bounds; without them, 1024.
# --check: exit status 1 if anything is flagged, 77 without nvcc; --short: only flagged kernels and the totals. From the
# environment: NVCC, CUOBJDUMP, CUDA_ARCH ('75 80 90 100 120'), NVCC_FLAGS.
WIDE='(_kernel<8|(norm|embedding|wte)_(for|back)ward_kernel<4|^round_kernel|^cross_entropy_kernel|stats_kernel)'
TENSOR='flash::(forward|backward)_kernel'

check=0 short=0
while [ $# -gt 0 ]; do
    case $1 in
    --check) check=1 ;;
    --short) short=1 ;;
    --help) sed -n '2,/^WIDE/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "report.sh: there is no $1" >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- train_gpt.cu gpt/cuda/attention.cu gpt/cuda/flash_forward.cu gpt/cuda/flash_backward.cu \
    optim/rules/elements_cuda.cu optim/verbs/verbs_cuda.cu optim/verbs/factor_cuda.cu comm/arena_cuda.cu
nvcc=${NVCC-nvcc} cuobjdump=${CUOBJDUMP-cuobjdump}
flags=${NVCC_FLAGS--std=c++17 -O3 --extended-lambda --fmad=false -I. -Ibase/cuda}
if ! command -v "${nvcc%% *}" > /dev/null; then
    echo "No report on the kernels: there is no nvcc"
    [ $check -eq 0 ] || exit 77
    exit 0
fi
sass=1
for tool in "$cuobjdump" nvdisasm; do # the one runs the other
    command -v "$tool" > /dev/null || { sass=0; echo "No instructions are counted: there is no $tool"; }
done
demangle=cat
command -v c++filt > /dev/null && demangle='c++filt -p'
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Of one architecture's PTX: "kernel NAME", "threads MOST", where there are launch bounds.
bounds='
/^(\.visible )?\.entry|^\.weak \.entry/ { name = $NF; sub(/\(.*/, "", name) }
/^\.maxntid/ { gsub(/[^0-9 ]/, " "); print "kernel " name "\nthreads", $1 * ($2 ? $2 : 1) * ($3 ? $3 : 1) }'
# Of its log: "kernel NAME", "regs REGISTERS SPILLED STATIC".
resources='
/Compiling entry function/ { split($0, quoted, "\047"); print "kernel " quoted[2] }
/bytes spill stores/ { for (i = 3; i <= NF; i++) if ($i == "spill") spilled += $(i - 2) }
/Used [0-9]+ registers/ {
    static = 0
    for (i = 1; i <= NF; i++) {
        if ($i == "Used") registers = $(i + 1)
        if ($i ~ /^smem/) static = $(i - 2)
    }
    print "regs", registers, spilled + 0, static
    spilled = 0
}'
# Of its SASS: "kernel NAME", "sass HMMA LDG128 STG128 LDSM LDGSTS LOCAL".
instructions='
function flush() {
    if (name != "")
        print "kernel " name "\nsass", hmma + 0, ldg + 0, stg + 0, ldsm + 0, ldgsts + 0, local + 0
    hmma = ldg = stg = ldsm = ldgsts = local = 0
}
/Function :/ { flush(); name = $NF }
/ HG?MMA/ { hmma++ }
/ LDG\.[A-Z0-9.]*128/ { ldg++ }
/ STG\.[A-Z0-9.]*128/ { stg++ }
/ LDSM/ { ldsm++ }
/ LDGSTS/ { ldgsts++ }
/ (LDL|STL)[. ]/ { local++ }
END { flush() }'

for file; do
    for arch in ${CUDA_ARCH-75 80 90 100 120}; do
        # shellcheck disable=SC2086 # several flags
        if ! $nvcc $flags -gencode "arch=compute_$arch,code=sm_$arch" -cubin -Xptxas -v "$file" \
            --keep --keep-dir "$work" -o "$work/cubin" 2> "$work/log"; then
            cat "$work/log" >&2
            exit 1
        fi
        echo "arch sm_$arch"
        awk "$resources" "$work/log"
        awk "$bounds" "$work"/*.ptx
        rm -f "$work"/*.ptx
        [ $sass -eq 0 ] || "$cuobjdump" -sass "$work/cubin" > "$work/sass" || exit 1
        [ $sass -eq 0 ] || awk "$instructions" "$work/sass"
    done
done > "$work/facts" || exit 1

$demangle < "$work/facts" |
    sed -E 's/\(anonymous namespace\):://g; s/__nv_bfloat16/bf16/g; s/\{lambda\([^)]*\)#([0-9]+)\}/\1/g' |
    awk -v check=$check -v short=$short -v sass=$sass -v wide="$WIDE" -v tensor="$TENSOR" '
    $1 == "arch" { arch = $2 }
    $1 == "kernel" {
        sub(/^kernel /, "")
        key = $0 SUBSEP arch
        if (!(key in name)) { keys[++n] = key; name[key] = $0; arch_of[key] = arch; bf16[key] = substr(arch, 4) >= 80 }
    }
    $1 == "threads" { threads[key] = $2 }
    $1 == "regs" { registers[key] = $2; spilled[key] = $3; static[key] = $4 }
    $1 == "sass" { hmma[key] = $2; ldg[key] = $3; stg[key] = $4; ldsm[key] = $5; ldgsts[key] = $6; local[key] = $7 }
    # Registers are given to warps in units of 256, and to four warps at a time: "Technical specifications" and
    # occupancy, CUDA C++ Programming Guide.
    function most(key) { return key in threads ? threads[key] : 1024 }
    function of_block(key) { return int((registers[key] * 32 + 255) / 256) * 256 * int((most(key) + 127) / 128) * 4 }
    function why(key) {
        if (of_block(key) > 65536) return "registers of " most(key) " threads"
        if (spilled[key] > 0) return "spills"
        if (!sass) return ""
        if (local[key] > 0) return "local memory"
        if (name[key] ~ wide && ldg[key] + ldgsts[key] == 0) return "no 16-byte loads"
        return name[key] ~ tensor && bf16[key] && hmma[key] == 0 ? "no tensor cores" : ""
    }
    function count(n) { return sprintf(" %6s", sass ? n + 0 : "-") }
    END {
        printf "%-40s %-6s %5s %7s %6s %6s", "kernel", "arch", "regs", "threads", "spill", "static"
        printf " %6s %6s %6s %6s %6s %6s  flagged\n", "HMMA", "LDG128", "STG128", "LDSM", "LDGSTS", "LOCAL"
        for (k = 1; k <= n; k++) {
            key = keys[k]
            flag = why(key)
            flagged += flag != ""
            if (short && flag == "") continue
            printf "%-40s %-6s %5d %7d %6d %6d", substr(name[key], 1, 40), arch_of[key], registers[key], most(key), \
                spilled[key], static[key]
            print count(hmma[key]) count(ldg[key]) count(stg[key]) count(ldsm[key]) count(ldgsts[key]) \
                count(local[key]) "  " flag
        }
        printf "%d kernels, %d flagged\n", n, flagged
        exit check && flagged > 0
    }'
