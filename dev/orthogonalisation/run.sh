#!/bin/sh
# Makes the tables in this folder, and the pictures if there is a Python with matplotlib: see README.md beside this file.
# run.sh [PART...]: maps (of singular values, and matrices: minutes), losses (108 runs: an hour or two of one core)  [both]
# The runs are kept in runs/losses; after a break the same command goes on where it stopped.
train=${TRAIN_GPT:-./train_gpt} measure=${ORTHOGONALISATION:-build/orthogonalisation}
out=dev/orthogonalisation runs=${RUNS:-runs/losses}
parts=${*:-maps losses}
commit=$(git describe --always --dirty 2>/dev/null || echo unknown commit)

origin() { # part, table: what it begins with
    echo "# $commit: dev/orthogonalisation/run.sh $1" | cat - "$2" > "$2.new" && mv "$2.new" "$2"
}

maps() {
    "$measure" --threads 1 $out || exit
    for table in map ranges matrices deviation; do
        origin maps $out/$table.csv
    done
}

# Of the sweep's table what does not depend on the machine: stage, flavour, rate, seed, loss.
losses() {
    nice dev/sweep $out/losses.toml --out "$runs" --train-gpt "$train" || exit
    { echo stage,run,lr,seed,val_loss
      sed -n 's/^\([a-z]*\),\([^,]*\),1,lr=\([^,]*\),\([0-9]*\),[a-z]*,\([^,]*\),.*/\1,\2,\3,\4,\5/p' "$runs/sweep.csv" | sort
    } > $out/losses.csv
    commit=$(sed -n 's/.*"source": *"\([^"]*\)".*/\1/p' "$runs"/final/*/*/*/run.json | sort -u | tr '\n' ' ')
    origin losses $out/losses.csv
}

for part in $parts; do
    case $part in
        maps | losses) $part ;;
        *) echo "run.sh: '$part' is none of maps losses" >&2; exit 2 ;;
    esac
done
if python=$(dev/python.sh --find matplotlib); then
    "$python" dev/orthogonalisation/plot.py $out
else
    echo "no pictures: there is no Python with matplotlib; the tables are in $out"
fi
