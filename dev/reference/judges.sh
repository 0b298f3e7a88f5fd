#!/bin/sh
# judges.sh: remakes the judges' file, what fp64 implementations of every update rule say, for test_judges.
# It takes its place only when the judges have passed their own checks.
out=build/judges.safetensors
mkdir -p build || exit 1
python=$(dev/python.sh torch numpy) || exit 1
"$python" dev/reference/judges.py $out || exit 1
cp $out dev/tests/judges.safetensors
echo "dev/tests/judges.safetensors is remade"
