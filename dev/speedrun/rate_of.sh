#!/bin/sh
# rate_of.sh FILE OPTIMIZER: the options --lr and --aux-lr of an optimizer, from a CSV of rows optimizer,lr,aux_lr; nothing
# if there is no such file or row.
[ -f "$1" ] || exit 0
awk -F, -v name="$2" '$1 == name { print "--lr", $2 ($3 != "" ? " --aux-lr " $3 : "") }' "$1"
