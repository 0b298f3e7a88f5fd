#!/bin/sh
# python.sh MODULE...         prints a Python that has the modules; creates a virtual environment if there is none
# python.sh --find MODULE...  only looks; exit status 1 when there is none
#
# Tries $PYTHON, then python3, then the virtual environment, which is outside the tree.
make=1
[ "$1" = --find ] && make=0 && shift
venv=${TRAIN_GPT_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/train_gpt/venv}
imports=$(printf 'import %s;' "$@")
here=$(dirname "$0")

for python in "${PYTHON:-python3}" python3 "$venv/bin/python"; do
    if "$python" -c "$imports" 2> /dev/null; then
        echo "$python"
        exit 0
    fi
done
[ $make -eq 1 ] || exit 1

log=$(mktemp) || exit 1
requirements=$(mktemp) || exit 1
trap 'rm -f "$log" "$requirements"' EXIT

fail() {
    echo "python.sh: no Python with $wanted: $*" >&2
    exit 1
}
last_line() { grep . "$log" | tail -n 1; }

wanted=$*
python=${PYTHON:-python3}
if ! command -v "$python" > /dev/null; then
    [ -z "${PYTHON:-}" ] || fail "PYTHON is $python, which is not there"
    fail "there is no python3 (Debian: apt-get install python3-venv)"
fi
"$python" -c 'import venv, ensurepip' 2> /dev/null ||
    fail "$python has no venv module to install it with (Debian: apt-get install python3-venv)"
echo "creating a Python environment with $wanted in $venv" >&2
for module; do
    grep "^$module" "$here/requirements.txt"
done > "$requirements"
"$python" -m venv "$venv" > "$log" 2>&1 || fail "cannot create $venv: $(last_line)"
"$venv/bin/pip" install -q --disable-pip-version-check -r "$requirements" > "$log" 2>&1 ||
    fail "pip cannot install it: $(last_line)"
echo "$venv/bin/python"
