#!/bin/sh
# cli.sh [TRAIN_GPT [PATTERN]]: end-to-end tests of the command line, needing only the usual shell tools.
# PATTERN: only the tests whose name, followed by |, contains it. Each test runs in an empty folder of its own, JOBS of
# them at a time. The tests are in cli/.
gpt=${1:-./train_gpt}
pattern=${2:-}
case $gpt in /*) ;; *) gpt=$PWD/$gpt ;; esac
[ -x "$gpt" ] || { echo "$gpt: is not there; run make first" >&2; exit 1; }

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'stop_jobs; exit 1' HUP INT TERM
export LC_ALL=C
export OMP_NUM_THREADS=1       # a tiny model gains nothing from more threads, and waits for them on a busy machine
export OMP_WAIT_POLICY=passive # for the tests that ask for more
passed=0 failed=0 skipped=0

helpers=${HELPERS:-build}
case $helpers in /*) ;; *) helpers=$PWD/$helpers ;; esac
harness=$helpers/harness failing=$helpers/failing.so # where they were built

here=$(dirname "$0")/cli
. "$here/helpers.sh"
for part in bad_commands data checkpoints convert runs resume architectures identity signals lost damage optimizers output screen \
    scripts machine events shells get tokenize journey ranks; do
    . "$here/$part.sh"
done
[ "${DEVICE:-cpu}" != cuda ] || . "$here/gpu.sh"
report_jobs

[ $started -lt 20 ] || report_slowest 20
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
