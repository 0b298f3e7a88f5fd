#!/bin/sh
# options_of.sh FILE OPTIMIZER: the options of an optimizer in FILE, a best.csv of dev/sweep: its row of size 1. Says on stderr
# what they are; without such a row, or where FILE is empty, that they are the defaults, --optimizer OPTIMIZER alone.
[ -n "$1" ] || { echo "$2: its defaults" >&2; echo "--optimizer $2"; exit 0; }
awk -v name="$2" -v file="$1" '
    function refuse(why) { printf "%s, line %d: %s\n", file, NR, why > "/dev/stderr"; bad = 1; exit 2 }
    { sub(/\r$/, "") }
    /^#/ || $0 == "" || $0 == "optimizer,size,val_loss,options" { next }
    !match($0, /^[A-Za-z0-9_.+-]+,[0-9.e+-]+,[0-9a-z.]*,/) { refuse("a row is optimizer,size,val_loss,options") }
    {
        split($0, field, ",")
        options = substr($0, RLENGTH + 1)
        gsub(/^"|"$/, "", options)
        if (options !~ /^--[a-z]/ || options ~ /[^A-Za-z0-9_.,=+ -]/) { refuse("\"" options "\" are no options") }
        if (field[2] != 1) next
        if (field[1] in known) { refuse("a second row for " field[1]) }
        known[field[1]] = options
    }
    END {
        if (bad)
            exit 2
        if (!(name in known)) {
            printf "%s: %s has nothing of it; its defaults\n", name, file > "/dev/stderr"
            print "--optimizer", name
            exit
        }
        printf "%s: %s, from %s\n", name, known[name], file > "/dev/stderr"
        print known[name]
    }' < "$1"
