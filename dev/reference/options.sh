#!/bin/sh
# options.sh: each option of the architecture alone, held against PyTorch in fp64: the worst error of the logits, of the
# decoded logits and of any gradient, relative to the tensor's scale. A table in Markdown; files go to build/options.
out=build/options
mkdir -p $out || exit 1
python=$(dev/python.sh torch numpy safetensors) || exit 1
make -s test_gpt_cpu || exit 1
status=0

worst() { # title: of test_gpt's table, whose columns are 30, 32 and 9 wide
    awk -v title="$1" '{ name = substr($0, 1, 30); sub(/ *$/, "", name) } name == title { print $(NF - 2) }' $out/table
}

printf '| options | logits | decoded | gradients | worst gradient |\n|---|---|---|---|---|\n'
while read -r options; do
    # shellcheck disable=SC2086 # several words
    "$python" dev/reference/reference.py $out/one.safetensors --layers 2 --heads 4 --width 32 --vocab 37 --seq-len 13 \
        --batch 2 --steps 0 $options > $out/log 2>&1 || { cat $out/log; exit 1; }
    ./test_gpt_cpu $out/one.safetensors > $out/table || status=1
    printf '| `%s` | %s | %s | %s | %s |\n' "${options:-(classic)}" "$(worst logits)" "$(worst 'logits, decoded')" \
        "$(worst gradients)" "$(awk '/^gradients  / { print substr($0, 32, 32) }' $out/table | sed 's/ *$//')"
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
