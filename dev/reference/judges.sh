#!/bin/sh
# judges.sh: rebuilds the judges' file, the results of fp64 implementations of every update rule, for test_judges.
# The new file replaces the old one only once the judges have passed their own checks.
out=build/judges.safetensors
mkdir -p build || exit 1
python=$(dev/python.sh torch numpy) || exit 1
"$python" dev/reference/judges.py $out || exit 1
cp $out dev/tests/judges.safetensors
echo "dev/tests/judges.safetensors is rebuilt"
