# jobs.sh: commands that run beside each other, $most at a time, and are reported in the order in which they began, by
# the function count: it is given a command's status, the file of what it printed, and its name. $logs: a folder.
started=0 reported=0
mkfifo "$logs/turns" && exec 9<> "$logs/turns" || exit 1 # a line for each command that may start
for turn in $(seq "$most"); do echo; done >&9

# Runs a command to its end, or to this shell's: in the background it does not hear Ctrl-C.
attend() { # its number, command
    log=$logs/$1 began=$(date +%s)
    shift
    "$@" > "$log" 2>&1 9>&- &
    trap "kill $! 2> '$logs/null'" TERM
    wait $!
    status=$?
    echo $(($(date +%s) - began)) > "$log.seconds"
    echo $status > "$log.status"
    echo >&9
}

# Reports what has ended, up to the first that has not.
report_ended() {
    while [ -s "$logs/$((reported + 1)).status" ]; do
        reported=$((reported + 1))
        eval "count $(cat "$logs/$reported.status") \"$logs/$reported\" \"\$name$reported\""
    done
}

report_jobs() {
    while [ $reported -lt $started ]; do
        eval "wait \"\$pid$((reported + 1))\""
        report_ended
    done
}

# Starts a command as soon as it may. Where one runs at a time, nothing of this shell runs beside it either.
start_job() { # name, command
    read -r turn <&9
    report_ended
    started=$((started + 1))
    eval "name$started=\$1"
    shift
    attend $started "$@" &
    eval "pid$started=\$!"
    [ "$most" -gt 1 ] || report_jobs
}

# The names of those that took longest, of those that took some seconds.
report_slowest() { # most of them
    for i in $(seq $reported); do
        eval "echo \"\$(cat "$logs/$i.seconds") \$name$i\""
    done | sort -rn | awk -v most="$1" '$1 >= 5 && NR <= most { printf "%4d s %s\n", $1, substr($0, length($1) + 2, 110) }'
}

stop_jobs() {
    while [ $reported -lt $started ]; do
        reported=$((reported + 1))
        eval "kill \"\$pid$reported\"" 2> "$logs/null"
    done
}
