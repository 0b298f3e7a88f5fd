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

make_reference $out/tiny.safetensors --positions 13 --ignore
make_reference $out/odd.safetensors --layers 3 --heads 5 --width 80 --vocab 301 --seq-len 37 --batch 3
make_reference $out/long.safetensors --layers 2 --heads 3 --width 48 --vocab 97 --seq-len 150 --batch 5 --ignore
make_reference $out/wide.safetensors --layers 4 --heads 4 --width 128 --vocab 1031 --seq-len 65 --batch 4
make_reference $out/one.safetensors --layers 1 --heads 1 --width 7 --vocab 11 --seq-len 2 --batch 1
make_reference $out/bf16.safetensors --heads 2 --width 32 --vocab 67 --seq-len 37 --batch 2 --steps 0 --ignore --bf16
make_reference $out/bf16_24.safetensors --layers 3 --heads 3 --width 72 --vocab 97 --seq-len 70 --batch 3 --steps 0 --bf16
make_reference $out/bf16_64.safetensors --layers 2 --heads 2 --width 128 --vocab 301 --seq-len 150 --batch 2 --steps 0 --bf16
for activation in gelu relu2 silu; do
    make_reference $out/$activation.safetensors --activation $activation --layers 1 --heads 2 --width 16 --batch 2 --steps 0 --bf16
    make_reference $out/bf16_$activation.safetensors --activation $activation --heads 2 --width 48 --seq-len 37 --steps 0 --bf16
done
./test_gpt_cpu $out/*.safetensors || exit 1
if [ -x build/emulated/test_gpt_cuda ]; then
    build/emulated/test_gpt_cuda --dtype bf16 $out/bf16*.safetensors || exit 1
fi
for file in tiny bf16 gelu relu2 silu; do
    cp $out/$file.safetensors dev/tests/reference_$file.safetensors
    echo "dev/tests/reference_$file.safetensors is rebuilt"
done
