#!/bin/sh
# Makes the tables in dev/lab/results and, given a Python with matplotlib, the figures: everything in README.md.
# run.sh [LAB [OUT [PART...]]]: the program, the output folder, and which of the parts below [all].
lab=${1:-build/lab} out=${2:-dev/lab/results}
[ $# -lt 2 ] || shift
[ $# -lt 1 ] || shift
parts=${*:-theory cycle spectra tracking memory sweep curves}
[ -x "$lab" ] || { echo "run.sh: $lab is not there; make lab builds it" >&2; exit 1; }
export LC_ALL=C OMP_NUM_THREADS=1 # 32 x 64 matrices gain nothing from more threads
mkdir -p "$out" || exit 1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# What is compared: options, and the binary logarithm of the rate where a sweep begins.
rules='sgd momentum adamw muon spectral nuclear shampoo soap'
options_of() {
    case $1 in
        sgd) echo "--rule sgd --set momentum=0" ;;
        momentum) echo "--rule sgd --set momentum=0.9" ;;
        adamw) echo "--rule adamw --set weight-decay=0" ;;
        muon) echo "--rule muon" ;;
        muon-exact) echo "--rule muon --set ns=exact" ;;
        muon-0.*) echo "--rule muon --set momentum=${1#muon-}" ;;
        spectral) echo "--rule spectral --set ns=exact --set muon-scale=none" ;;
        spectral-jordan) echo "--rule spectral --set ns=jordan --set muon-scale=none" ;;
        nuclear) echo "--rule spectral --set ns=exact --set muon-scale=nuclear" ;;
        shampoo) echo "--rule shampoo --set graft=none --set refresh=1 --set weight-decay=0" ;;
        shampoo-*) echo "$(options_of shampoo) --set eps=0 --set beta1=0 --set beta2=${1#shampoo-}" ;;
        soap) echo "--rule soap --set weight-decay=0" ;;
    esac
}
first_exponent() {
    case $1 in sgd) echo 4 ;; momentum) echo 1 ;; nuclear) echo -1 ;; *) echo -4 ;; esac
}
calc() { awk "BEGIN { printf \"%.9g\", $1 }"; }

# run RULE OPTIONS...: the CSV of one run, in $scratch/run. A run that diverges is a result too.
run() {
    rule_options=$(options_of "$1")
    shift
    # shellcheck disable=SC2086 # the rule is options
    "$lab" $rule_options "$@" > "$scratch/run" 2> "$scratch/error"
    status=$?
    [ $status -eq 0 ] || [ $status -eq 3 ] || { cat "$scratch/error" >&2; exit 1; }
    return $status
}

# A value of the problem's line: "# floor=.. condition=..".
known() { sed -n "s/^#.* $1=\([^ ]*\).*/\1/p" "$scratch/run"; }

# --- theory: the rate at which SGD's distance shrinks, by least squares on its logarithm, beside the closed form ---
shrinks() { # options
    run "$@" || { echo diverged; return; }
    awk -F, '/^[0-9]/ { if (!first) first = $4
            if ($4 < 0.01 * first && $4 > 2e-4 * first) {
                n++; x = $1; y = log($4); sx += x; sy += y; sxx += x * x; sxy += x * y } }
        END { printf "%.6f", exp((n * sxy - sx * sy) / (n * sxx - sx * sx)) }' "$scratch/run"
}

theory() {
    echo "momentum,condition,lr_over_best,theory,measured" > "$out/theory.csv"
    for target in 1 10 100 1000; do
        inputs="--inputs rotated --condition $target"
        run sgd $inputs --steps 0
        kappa=$(known condition) least=$(known curvature_least) most=$(known curvature_most)
        best=$(calc "2 / ($least + $most)")
        factors=1
        [ $target -ne 10 ] || factors='0.25 0.5 0.75 0.9 1 1.02 1.04 1.06'
        for factor in $factors; do
            lr=$(calc "$factor * $best")
            radius=$(awk -v a="$least" -v b="$most" -v lr="$lr" 'BEGIN {
                slow = 1 - lr * a; fast = lr * b - 1; print (slow > fast ? slow : fast) }')
            steps=$(calc "int(log(1e-5) / log($radius)) + 20")
            echo "0,$kappa,$factor,$radius,$(shrinks sgd $inputs --lr "$lr" --steps "$steps")" >> "$out/theory.csv"
        done
        # a tenth closer to 1 than the best momentum: every mode oscillates, and its radius is sqrt(momentum)
        radius=$(calc "1 - 0.9 * 2 / (sqrt($kappa) + 1)")
        mu=$(calc "$radius ^ 2")
        lr=$(calc "(2 / (sqrt($least) + sqrt($most))) ^ 2")
        steps=$(calc "int(log(1e-5) / log($radius)) + 20")
        measured=$(shrinks momentum --set momentum="$mu" $inputs --lr "$lr" --steps "$steps")
        echo "$mu,$kappa,1,$radius,$measured" >> "$out/theory.csv"
    done
}

# --- cycle: where a constant rate ends, and what decay changes: the root mean square distance of the last fifth ---
cycle() {
    echo "rule,schedule,batch,lr,rms_distance,last_distance" > "$out/cycle.csv"
    for batch in 4096 256; do
        for lr in 0.02 0.04 0.08 0.16 0.32 0.64; do
            for entry in spectral:constant spectral:linear spectral-jordan:constant muon:constant muon:linear \
                adamw:constant; do
                steps=$(calc "int(20 / $lr) + 150") # the largest singular value has 13.7 to go
                [ "${entry#*:}" = constant ] || steps=$((2 * steps)) # a falling rate goes half as far
                run "${entry%:*}" --schedule "${entry#*:}" --batch $batch --lr $lr --steps "$steps" --log-every 5
                awk -F, -v id="${entry%:*},${entry#*:},$batch,$lr" -v steps="$steps" '
                    /^[0-9]/ && $1 > 0.8 * steps { n++; sum += $4 * $4 }
                    END { printf "%s,%.6g,%.6g\n", id, sqrt(sum / n), $4 }' "$scratch/run" >> "$out/cycle.csv"
            done
        done
    done
}

# Singular values of the rows of $scratch/run at the steps given, a line each: ID,step,i,gradient,update,gap,momentum
spectra_rows() { # id, steps
    awk -F, -v id="$1" -v steps=" $2 " 'index(steps, " " $1 " ") && /^[0-9]/ {
        for (i = 1; i <= 32; i++)
            printf "%s,%d,%d,%.5g,%.5g,%.5g,%s\n", id, $1, i, $(11 + i), $(43 + i), $(75 + i), $(107 + i)
        }' "$scratch/run"
}

# --- spectra: what each rule makes of one gradient, and of those on its way ---
spectra() {
    echo "rule,step,i,gradient,update,gap,momentum" > "$out/spectra.csv"
    measures=grad_condition,grad_stable_rank,update_stable_rank,grad_nuclear,cosine,attained,unorthogonality
    echo "rule,step,$measures" > "$out/measures.csv"
    for entry in sgd:16 momentum:2 adamw:0.06 muon:0.06 spectral:0.06 nuclear:0.5 shampoo:0.06 soap:0.06; do
        rule=${entry%:*}
        run $rule --inputs rotated --schedule linear --lr "${entry#*:}" --spectra-every 20 --log-every 20
        spectra_rows $rule '0 60' >> "$out/spectra.csv"
        grep '^[0-9]' "$scratch/run" | cut -d, -f1,5-11 | sed "/,,/d; s/^/$rule,/" >> "$out/measures.csv"
    done
}

# --- tracking: does the gradient's spectrum follow that of W - W_OLS? ---
tracking() {
    echo "data,step,i,gradient,update,gap,momentum" > "$out/tracking.csv"
    for data in white:4096 rotated:4096 white:32; do
        run muon --inputs ${data%:*} --batch ${data#*:} --lr 0.1 --schedule linear --steps 200 --spectra-every 10
        spectra_rows $data '0 50 100 150 190' >> "$out/tracking.csv"
        echo "# $data $(grep '^# floor' "$scratch/run")" >> "$out/tracking.csv"
    done
}

# --- memory: Shampoo without momentum, from no memory (beta2 0) to a long one, beside spectral descent ---
memory() {
    echo "inputs,rule,step,excess_over_floor,update_fro,unorthogonality" > "$out/memory.csv"
    for inputs in white rotated; do
        for rule in spectral shampoo-0 shampoo-0.9 shampoo-0.99; do
            run $rule --inputs $inputs --lr 0.1 --steps 300 --log-every 10 --spectra-every 10
            awk -F, -v id="$inputs,$rule" -v floor="$(known floor)" '/^[0-9]/ && $5 != "" {
                fro = 0
                for (i = 44; i <= 75; i++) fro += $i * $i
                printf "%s,%d,%.6g,%.5g,%.4g\n", id, $1, $3 / floor, sqrt(fro), $11
            }' "$scratch/run" >> "$out/memory.csv"
        done
    done
}

# --- sweep: the best rate of each rule on a grid of powers of 2, widened until both neighbours of the best are worse.
# "Solved" is the first step (of every fifth) from which on the excess loss stays below 1e-4 of the floor. Better is
# what solves sooner, and where nothing does, what has less excess at the end ---
measure() { # rule, options -> excess over floor, solved step or nothing, distance, score
    if run "$@" --log-every 5; then
        awk -F, -v floor="$(known floor)" '/^[0-9]/ { excess = $3 / floor; if (excess > 1e-4) solved = $1 + 5 }
            END { if (excess <= 1e-4) printf "%.6g %d %.6g %d", excess, solved, $4, solved
                  else printf "%.6g - %.6g %.9g", excess, $4, 1e6 * (1 + excess) }' "$scratch/run"
    else
        echo diverged - - 1e300
    fi
}

record() { # file, inputs, batch, schedule, rule, lr, seed, excess, solved, distance
    file=$1
    shift
    echo "$*" | sed 's/ -/ /g; s/ /,/g' >> "$file"
}

rate_of() { calc "2 ^ ($1)"; }

tune() { # inputs, batch, schedule, rule
    k=$(cat "$scratch/start-$3-$4" 2>/dev/null || first_exponent "$4")
    : > "$scratch/scores"
    wanted="$((k - 1)) $k $((k + 1))"
    while [ -n "$wanted" ]; do
        for k in $wanted; do
            lr=$(rate_of "$k")
            result=$(measure "$4" --inputs "$1" --batch "$2" --schedule "$3" --lr "$lr")
            echo "$k ${result##* } ${result% *}" >> "$scratch/scores"
            record "$out/sweep.csv" "$1" "$2" "$3" "$4" "$lr" 1 ${result% *}
        done
        wanted=$(sort -n "$scratch/scores" | awk '{ k[NR] = $1; score[NR] = $2 + 0 }
            END { best = 1; for (i = 2; i <= NR; i++) if (score[i] < score[best]) best = i
                  if (best == 1) print k[1] - 1; else if (best == NR) print k[NR] + 1 }')
        [ "$(wc -l < "$scratch/scores")" -lt 16 ] || { echo "run.sh: $* has no best rate within 16" >&2; exit 1; }
    done
    best=$(sort -g -k 2 "$scratch/scores" | head -n 1)
    echo "${best%% *}" > "$scratch/start-$3-$4"
    lr=$(rate_of "${best%% *}")
    # shellcheck disable=SC2086 # the numbers of the best
    set -- "$1" "$2" "$3" "$4" $best # 5: exponent, 6: score, 7 to 9: the rest
    record "$out/best.csv" "$1" "$2" "$3" "$4" "$lr" 1 "$7" "$8" "$9"
    for seed in 2 3; do
        result=$(measure "$4" --inputs "$1" --batch "$2" --schedule "$3" --lr "$lr" --seed $seed)
        record "$out/best.csv" "$1" "$2" "$3" "$4" "$lr" $seed ${result% *}
    done
}

sweep() {
    for table in sweep best; do
        echo "inputs,batch,schedule,rule,lr,seed,excess_over_floor,solved_step,distance" > "$out/$table.csv"
    done
    for data in white:4096 white:256 white:32 rotated:4096 rotated:256 rotated:32; do
        for rule in $rules; do
            for schedule in constant linear; do
                tune ${data%:*} ${data#*:} $schedule $rule
            done
        done
    done
    for rule in momentum adamw muon spectral shampoo soap; do
        tune ill 256 linear $rule # what changes when the axes of the data are those of the weights
    done
    for rule in muon-exact muon-0.8 muon-0.5; do
        tune rotated 256 linear $rule # what of Muon's step makes the difference to spectral descent
    done
}

# --- curves: the loss of each rule at its best rate of the sweep, under the better schedule ---
curves() {
    echo "inputs,batch,rule,schedule,lr,step,excess_over_floor" > "$out/curves.csv"
    for data in white:256 rotated:4096 rotated:256 rotated:32; do
        for rule in $rules; do
            set -- $(awk -F, -v data="$data" -v rule="$rule" '$1 ":" $2 == data && $4 == rule && $6 == 1 {
                score = $8 != "" ? $8 : 1e6 * (1 + $7)
                if (!found || score < least) { found = 1; least = score; print $3, $5 } }' "$out/best.csv" | tail -n 1)
            run $rule --inputs ${data%:*} --batch ${data#*:} --schedule "$1" --lr "$2" --log-every 10
            awk -F, -v id="${data%:*},${data#*:},$rule,$1,$2" -v floor="$(known floor)" \
                '/^[0-9]/ { printf "%s,%d,%.4g\n", id, $1, $3 / floor }' "$scratch/run" >> "$out/curves.csv"
        done
    done
}

for part in $parts; do
    case $part in
        theory | cycle | spectra | tracking | memory | sweep | curves) ;;
        *) echo "run.sh: '$part' is none of theory cycle spectra tracking memory sweep curves" >&2; exit 2 ;;
    esac
    echo "$part ..."
    $part || exit 1
done
echo "tables are in $out"
if python=$(dev/python.sh --find matplotlib); then
    "$python" dev/lab/plot.py "$out"
else
    echo "no figures: there is no Python with matplotlib"
fi
