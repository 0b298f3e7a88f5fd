#!/bin/sh
# experiments.sh TRAIN_GPT [NAME]: the tests of dev/experiments, where there is a Python with what dev/compare needs.
here=$(dirname "$0")
python=$("$here/../python.sh" --find numpy pandas scipy matplotlib jinja2) || {
    echo "skip  dev/experiments: no Python with NumPy, pandas, SciPy, matplotlib and Jinja (dev/python.sh would install them)"
    echo "0 passed, 0 failed, 1 skipped"
    exit
}
exec "$python" "$here/test_experiments.py" "$@"
