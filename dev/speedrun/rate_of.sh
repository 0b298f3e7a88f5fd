#!/bin/sh
# rate_of.sh FILE OPTIMIZER: the options --lr and --aux-lr of an optimizer, from a CSV of rows optimizer,lr,aux_lr. Says on
# stderr which rate it is; without such a row, or where FILE is empty, that it is the default.
[ -n "$1" ] || { echo "$2: its default rate" >&2; exit 0; }
awk -F, -v name="$2" -v file="$1" '
    function refuse(why) { printf "%s, line %d: %s\n", file, NR, why > "/dev/stderr"; bad = 1; exit 2 }
    function is_rate(x) { return x ~ /^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$/ && x + 0 > 0 }
    { sub(/\r$/, ""); gsub(/[ \t]/, "") }
    /^#/ || $0 == "" || $0 == "optimizer,lr,aux_lr" { next }
    NF < 2 || NF > 3 { refuse("a row is optimizer,lr,aux_lr") }
    $1 !~ /^[a-z0-9-]+$/ { refuse("\"" $1 "\" is no optimizer") }
    !is_rate($2) { refuse("\"" $2 "\" is no learning rate") }
    NF == 3 && $3 != "" && !is_rate($3) { refuse("\"" $3 "\" is no learning rate") }
    $1 in lr { refuse("a second rate for " $1) }
    { lr[$1] = $2; aux[$1] = $3 }
    END {
        if (bad)
            exit 2
        if (!(name in lr)) {
            printf "%s: %s has no rate for it; its default\n", name, file > "/dev/stderr"
            exit
        }
        printf "%s: lr %s%s from %s\n", name, lr[name], aux[name] != "" ? ", aux lr " aux[name] : "", file > "/dev/stderr"
        print "--lr", lr[name] (aux[name] != "" ? " --aux-lr " aux[name] : "")
    }' < "$1"
