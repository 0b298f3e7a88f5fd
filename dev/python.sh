#!/bin/sh
# python.sh MODULE...         prints a Python that has the modules; creates a virtual environment if there is none
# python.sh --find MODULE...  only looks; exit status 1 when there is none
#
# Tries $PYTHON, then python3, then the virtual environment, which is outside the tree.
make=1
[ "$1" = --find ] && make=0 && shift
venv=${TRAIN_GPT_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/train_gpt/venv}
imports=$(printf 'import %s;' "$@")

for python in "${PYTHON:-python3}" python3 "$venv/bin/python"; do
    if "$python" -c "$imports" 2>/dev/null; then
        echo "$python"
        exit 0
    fi
done
[ $make -eq 1 ] || exit 1

echo "creating a Python environment with $* in $venv" >&2
requirements=$(mktemp) || exit 1
trap 'rm -f "$requirements"' EXIT
for module; do
    grep "^$module" dev/requirements.txt
done > "$requirements"
"${PYTHON:-python3}" -m venv "$venv" >&2 && "$venv/bin/pip" install -q -r "$requirements" >&2 || {
    echo "cannot create a Python environment with $* (is there a network?)" >&2
    exit 1
}
echo "$venv/bin/python"
