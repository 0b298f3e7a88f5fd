#!/bin/sh
# options.sh: each option of the architecture alone, and some together, held against PyTorch: the worst error of the logits,
# of the decoded logits and of any gradient, relative to the tensor's scale. In fp32 against fp64 by the CPU's twin; then the
# GPU's, on a GPU or, without one, compiled for the CPU: in fp32 likewise, in bf16 |got - want| / |want|, which may be twice
# PyTorch's own in bf16. A table in Markdown; files go to build/options.
out=build/options
mkdir -p $out || exit 1
python=$(dev/python.sh torch numpy safetensors) || exit 1
cuda=./test_gpt_cuda
[ -e /dev/nvidiactl ] || [ -e /usr/lib/wsl/lib/nvidia-smi ] || cuda=build/emulated/test_gpt_cuda
make -s test_gpt_cpu ${cuda#./} || exit 1
status=0

# row TABLE TITLE: its error; of test_gpt's table, whose columns are 30, 32 and 9 wide
row() {
    awk -v title="$2" '{ name = substr($0, 1, 30); sub(/ *$/, "", name) } name == title { print $(NF - 2) }' "$1"
}

printf '| options | logits | decoded | gradients | worst gradient | GPU gradients | GPU bf16 logits | gradients |\n'
printf '|---|---|---|---|---|---|---|---|\n'
while read -r options; do
    # shellcheck disable=SC2086 # several words
    "$python" dev/reference/reference.py $out/one.safetensors --layers 2 --heads 4 --width 32 --vocab 37 --seq-len 13 \
        --batch 2 --steps 0 --bf16 $options > $out/log 2>&1 || { cat $out/log; exit 1; }
    ./test_gpt_cpu $out/one.safetensors > $out/cpu || status=1
    $cuda --dtype fp32 $out/one.safetensors > $out/fp32 || status=1
    $cuda --dtype bf16 $out/one.safetensors > $out/bf16 || status=1
    grep -hE 'FAIL|no .* in bf16' $out/cpu $out/fp32 $out/bf16 >&2
    printf '| `%s` | %s | %s | %s | %s | %s | %s | %s |\n' "${options:-(classic)}" "$(row $out/cpu logits)" \
        "$(row $out/cpu 'logits, decoded')" "$(row $out/cpu gradients)" \
        "$(awk '/^gradients  / { print substr($0, 32, 32) }' $out/cpu | sed 's/ *$//')" "$(row $out/fp32 gradients)" \
        "$(row $out/bf16 logits)" "$(row $out/bf16 gradients)"
done <<'OPTIONS'

--positions rotary
--positions rotary --rotary-base 500
--positions rotary-half
--positions none
--norm layernorm-no-bias
--norm rmsnorm
--norm rmsnorm-no-gain
--norm none
--norm-eps 0.1
--embed-norm on
--residual-scale 0.7
--kv-heads 1
--kv-heads 2
--qk-norm on
--qk-norm gain
--attention-scale 0.12
--value-scale 0.3
--attention-bias qkv
--attention-bias none
--mlp-width 23
--activation gelu-exact
--activation relu2
--activation silu
--activation swiglu
--mlp-bias off
--head untied
--head untied-bias
--softcap tanh --softcap-limit 4
--softcap sqrt --softcap-limit 4
--positions rotary --qk-norm gain --kv-heads 2
--positions rotary-half --qk-norm on --attention-scale 0.12
--head untied-bias --softcap sqrt
--norm rmsnorm --attention-bias none --mlp-bias off --embed-norm on
--norm none --residual-scale 0.875
--norm none --residual-scale 0.875 --positions rotary --attention-scale 0.2 --attention-bias none --mlp-bias off --head untied
OPTIONS
exit $status
