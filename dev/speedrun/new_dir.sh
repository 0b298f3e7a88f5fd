#!/bin/sh
# new_dir.sh NAME: makes the directory NAME or, where that exists, NAME-2, NAME-3 ..., and prints which.
mkdir -p "$(dirname "$1")" || exit 1
name=$1 n=1
until mkdir "$name" 2> /dev/null; do
    [ -e "$name" ] || [ -L "$name" ] || { mkdir "$name"; exit 1; } # for mkdir's own message
    n=$((n + 1))
    name=$1-$n
done
echo "$name"
