#!/bin/sh
# reference.sh: rebuilds the committed PyTorch references and larger, odd-sized ones, and diffs the model against all.
# Files go to build/reference; the committed ones are replaced only if the model agrees with the new ones.
out=build/reference
mkdir -p $out || exit 1
python=$(dev/python.sh torch numpy safetensors) || exit 1

make_reference() {
    echo "== reference.py $*"
    "$python" dev/reference/reference.py "$@" || exit 1
}

llama="--norm rmsnorm --positions rotary --activation swiglu --attention-bias none --mlp-bias off --head untied"
track3="--norm rmsnorm --positions rotary-half --qk-norm on --attention-scale .12 --activation relu2 \
    --head untied-bias --softcap sqrt --embed-norm on --norm-eps 1.1920929e-07"
modern="--norm rmsnorm-no-gain --positions rotary --rotary-base 500 --qk-norm on --activation relu2 \
    --attention-bias none --mlp-bias off --value-scale .6"
odd="--norm layernorm-no-bias --norm-eps 1e-3 --positions none --qk-norm gain --attention-bias qkv \
    --mlp-bias off --head untied --softcap tanh --softcap-limit 4"
modula="--norm none --residual-scale .875 --positions rotary --attention-scale .3 --attention-bias none --mlp-bias off \
    --head untied --init modula"

# The committed ones
small="--batch 2 --steps 0 --bf16"
make_reference $out/tiny.safetensors --most-positions 13 --ignore
make_reference $out/bf16.safetensors --heads 2 --width 32 --vocab 67 --seq-len 37 --batch 2 --steps 0 --ignore --bf16
make_reference $out/gelu.safetensors --activation gelu-exact --layers 1 --heads 2 --width 16 $small
make_reference $out/relu2.safetensors --activation relu2 --layers 1 --heads 2 --width 16 $small
make_reference $out/silu.safetensors --activation silu --layers 1 --heads 2 --width 16 $small
make_reference $out/llama.safetensors $llama --layers 1 --heads 2 --kv-heads 1 --width 16 --vocab 23 --seq-len 10 $small
make_reference $out/track3.safetensors $track3 --layers 1 --heads 2 --width 16 --vocab 17 --seq-len 10 $small
make_reference $out/modern.safetensors $modern --layers 1 --heads 2 --width 16 --vocab 31 --most-positions 14 \
    $small --ignore
make_reference $out/odd.safetensors $odd --layers 2 --heads 3 --kv-heads 1 --width 15 --mlp-width 23 --vocab 23 \
    --seq-len 7 $small
make_reference $out/modula.safetensors $modula --layers 2 --heads 1 --width 8 --mlp-width 16 --vocab 11 --seq-len 9 $small
make_reference $out/steps.safetensors $llama --heads 4 --kv-heads 2 --width 8 --vocab 29 --seq-len 9 --batch 2 --steps 4

echo "== llmc.py"
"$python" dev/reference/llmc.py $out/llmc_model.bin $out/llmc_state.bin || exit 1

# Larger ones
make_reference $out/uneven.safetensors --layers 3 --heads 5 --width 80 --vocab 301 --seq-len 37 --batch 3
make_reference $out/long.safetensors --layers 2 --heads 3 --width 48 --vocab 97 --seq-len 150 --batch 5 --ignore
make_reference $out/wide.safetensors --layers 4 --heads 4 --width 128 --vocab 1031 --seq-len 65 --batch 4
make_reference $out/one.safetensors --layers 1 --heads 1 --width 7 --vocab 11 --seq-len 2 --batch 1
make_reference $out/long_llama.safetensors $llama --heads 6 --kv-heads 2 --width 60 --vocab 97 --seq-len 150 --batch 2
make_reference $out/long_track3.safetensors $track3 --heads 3 --width 48 --vocab 301 --seq-len 150 --batch 2 --ignore
make_reference $out/long_modern.safetensors $modern --heads 5 --width 80 --vocab 97 --seq-len 70
make_reference $out/long_odd.safetensors $odd --heads 9 --kv-heads 3 --width 63 --mlp-width 101 --seq-len 65
make_reference $out/long_modula.safetensors $modula --layers 4 --heads 4 --width 64 --vocab 97 --seq-len 70

# In bf16: heads of a multiple of 8 channels, which the GPU's attention wants
bf16="--steps 0 --bf16"
make_reference $out/bf16_24.safetensors --layers 3 --heads 3 --width 72 --vocab 97 --seq-len 70 --batch 3 $bf16
make_reference $out/bf16_64.safetensors --layers 2 --heads 2 --width 128 --vocab 301 --seq-len 150 --batch 2 $bf16
for activation in gelu-exact relu2 silu; do
    make_reference $out/bf16_$activation.safetensors --activation $activation --heads 2 --width 48 --seq-len 37 $bf16
done
make_reference $out/bf16_llama.safetensors $llama --heads 4 --kv-heads 2 --width 64 --vocab 97 --seq-len 70 $bf16
make_reference $out/bf16_track3.safetensors $track3 --heads 3 --width 72 --vocab 97 --seq-len 70 $bf16
make_reference $out/bf16_modern.safetensors $modern --heads 2 --width 128 --vocab 97 --seq-len 70 $bf16
make_reference $out/bf16_modula.safetensors $modula --layers 4 --heads 4 --width 64 --vocab 97 --seq-len 70 $bf16
make_reference $out/bf16_gain.safetensors $odd --heads 6 --kv-heads 2 --width 96 --vocab 97 --seq-len 70 $bf16

./test_gpt_cpu $out/*.safetensors || exit 1
./test_gpt_cpu --llmc $out/llmc_model.bin $out/llmc_state.bin || exit 1
if [ -x build/emulated/test_gpt_cuda ]; then
    build/emulated/test_gpt_cuda --dtype bf16 $out/bf16*.safetensors || exit 1
fi
for file in tiny bf16 gelu relu2 silu llama track3 modern odd modula steps; do
    cp $out/$file.safetensors dev/tests/reference_$file.safetensors
    echo "dev/tests/reference_$file.safetensors is rebuilt"
done
cp $out/llmc_model.bin $out/llmc_state.bin dev/tests/
echo "dev/tests/llmc_model.bin and llmc_state.bin are rebuilt"
