# common.sh: what the scripts beside it share. Each sets $me, its name, and $here, its directory, and reads this file.
train=${TRAIN_GPT:-./train_gpt}
launch=${LAUNCH:-} # what starts several ranks: 'mpirun -np 4'
log=

stop() { # exit status, words
    status=$1
    shift
    echo "$me: $*" >&2
    exit "$status"
}

# Makes the directory $out; where it is empty, runs/$me-<time>. Where this script was at work in it before, with the same
# $1 (what must not change from one call to the next), goes on with what it left. Also checks that there is a $train.
open_out() {
    made=1
    command -v "$train" > /dev/null || stop 1 "$train is not there; run make first"
    if [ -z "$out" ]; then
        out=$("$here/new_dir.sh" "runs/$me-$(date +%Y%m%d-%H%M%S)") || exit 1
    elif [ -e "$out" ]; then
        [ -f "$out/$me.txt" ] || stop 2 "$out exists, and no $me began there; choose another --out"
        [ "$(cat "$out/$me.txt")" = "$1" ] ||
            stop 2 "$out was begun with other options, see $out/$me.txt; choose another --out"
        if [ -f "$out/pid" ] && kill -0 "$(cat "$out/pid")" 2> /dev/null; then
            stop 1 "process $(cat "$out/pid") is at work in $out"
        fi
        echo "continuing what is in $out" >&2
        made=
    else
        mkdir -p "$out" || exit 1
    fi
    echo $$ > "$out/pid"
    printf '%s\n' "$1" > "$out/$me.txt"
    trap 'close_out' EXIT
}

# A directory made just now, without a single run, is of no use to anybody.
close_out() {
    rm -f "$out/pid"
    [ -n "$made" ] || return 0
    set -- "$out"/*/
    [ -d "$1" ] || rm -rf "$out"
}

# Trains into the directory $1 with the options that follow, unless that was done. A run that was stopped is resumed from
# its checkpoint; without one it begins again. With $log set, output goes to $1.log, and to $1.err what is on stderr.
# Returns 0, or 3 if the run diverged; any other end ends the script. $1/ended holds the status of a run that ended.
one_run() {
    run=$1
    shift
    if [ -f "$run/ended" ]; then
        [ -n "$log" ] || echo "$run is done"
        return "$(cat "$run/ended")"
    fi
    if [ -f "$run/latest" ]; then
        echo "resuming $run from $(cat "$run/latest")" >&2
        set -- --resume
    elif [ -d "$run" ]; then
        echo "starting $run again: it was stopped before its first checkpoint" >&2
        rm -rf "$run"
    fi
    stopped=
    if at_end; then
        status=0
    else
        run_child "$@" --out "$run"
    fi
    case $status in
        0) ;;
        3) echo "$me: $run diverged" >&2 ;;
        129 | 130 | 137 | 143) stop $status "stopped in $run; the same command with --out $out goes on from there" ;;
        *)
            [ -z "$log" ] || cat "$run.err" >&2
            stop 1 "$run failed with exit status $status"
            ;;
    esac
    echo $status > "$run/ended"
    [ -z "$stopped" ] || stop 143 "stopped after $run; the same command with --out $out goes on from there"
    return $status
}

# Whether the checkpoint in $run is that of its last step.
at_end() {
    [ -f "$run/latest" ] || return 1
    steps=$(sed -n 's/^ *"steps": "\([0-9]*\)".*/\1/p' "$run/run.json")
    [ -n "$steps" ] && [ "$(cat "$run/latest")" = "$(printf 'step_%06d' "$steps")" ]
}

# A signal goes on to the program, which saves and ends; $status is how.
run_child() {
    if [ -n "$log" ]; then
        $launch "$train" "$@" > "$run.log" 2> "$run.err" &
    else
        $launch "$train" "$@" &
    fi
    child=$!
    trap 'stopped=1; kill -s TERM $child 2> /dev/null' HUP INT TERM
    wait $child
    status=$?
    if [ -n "$stopped" ]; then # the signal may have interrupted the wait
        wait $child
        again=$?
        [ $again -eq 127 ] || status=$again
    fi
    trap - HUP INT TERM
}

# The learning rate of a run's hidden matrices.
rate_in() { sed -n 's/.*"name": "hidden".*"lr": "\([^"]*\)".*/\1/p' "$1/run.json"; }

# The file of best options: $1 if it was given, and then it must be there; else the default one, if there is one.
best_file() {
    if [ -n "$1" ]; then
        [ -r "$1" ] && [ ! -d "$1" ] || stop 2 "--best $1: there is no such file"
        echo "$1"
    elif [ -f "$here/results/best.csv" ]; then
        echo "$here/results/best.csv"
    fi
}

# The options of each optimizer in $2, one a line: NAME OPTIONS. Says on stderr what they are and where they are from.
all_options() { # file, optimizers
    for optimizer in $2; do
        options=$("$here/options_of.sh" "$1" "$optimizer") || exit 2
        echo "$optimizer $options"
    done
}

options_in_list() { # list of all_options, optimizer
    echo "$1" | sed -n "s/^$2 //p"
}
