#!/bin/sh
# compare.sh DIR "OPTIMIZERS" "SEEDS": the table of a comparison whose runs are DIR/<optimizer>-seed<seed>; also writes it
# as DIR/comparison.csv. The target is, seed by seed, the final validation loss of the first optimizer; the crossing is
# interpolated linearly between two validations. A run that diverged counts in no mean; the table says how many did.
dir=$1 optimizers=$2 seeds=$3
baseline=${optimizers%% *}

# A field of run.json: the floor.
field() { sed -n "s/.*\"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\}.*/\1/p" "$1/run.json" | head -n 1; }

for seed in $seeds; do
    for optimizer in $optimizers; do
        run=$dir/$optimizer-seed$seed
        for file in run.json metrics.csv; do
            [ -f "$run/$file" ] || { echo "compare: $run/$file is not there" >&2; exit 1; }
        done
        awk -F, 'NR > 1 && $5 != "" { n++ } END { exit !n }' "$run/metrics.csv" ||
            { echo "compare: $run has no validation loss" >&2; exit 1; }
    done
done

for seed in $seeds; do
    for optimizer in $optimizers; do
        run=$dir/$optimizer-seed$seed
        floor=$(field "$run" floor)
        lr=$(sed -n 's/.*"name": "hidden".*"lr": "\([^"]*\)".*/\1/p' "$run/run.json")
        ended=$(cat "$run/ended" 2> /dev/null)
        awk -F, -v optimizer="$optimizer" -v seed="$seed" -v lr="$lr" -v floor="$floor" -v ended="${ended:-0}" '
            NR > 1 && $5 != "" { printf "%s,%s,%s,%s,%s,%s,%s,%s,%s\n", optimizer, seed, lr, floor, $1, $2, $3, $5, ended }
        ' "$run/metrics.csv"
    done
done | awk -F, -v baseline="$baseline" -v csv="$dir/comparison.csv.tmp" -v optimizers="$optimizers" -v seeds="$seeds" '
    # Every validation: optimizer, seed, lr, floor, step, tokens, seconds, loss, exit status of the run.
    {
        run = $1 "," $2
        n[run]++
        lr[$1] = $3; floor = $4
        step[run, n[run]] = $5; tokens[run, n[run]] = $6; seconds[run, n[run]] = $7; loss[run, n[run]] = $8
        diverged[run] = $9 == 3
    }
    # Sets at_step, at_tokens, at_seconds to where the run first reaches the target; 0 if it never does.
    function crossing(run, target,    i, share) {
        for (i = 1; i <= n[run]; i++) {
            if (loss[run, i] + 0 > target + 0)
                continue
            share = i == 1 ? 1 : (loss[run, i - 1] - target) / (loss[run, i - 1] - loss[run, i])
            at_step = between(step[run, i - 1], step[run, i], share)
            at_tokens = between(tokens[run, i - 1], tokens[run, i], share)
            at_seconds = between(seconds[run, i - 1], seconds[run, i], share)
            return 1
        }
        return 0
    }
    function between(a, b, share) { return a + share * (b - a) }
    function two(x) { return x == "" ? "-" : sprintf("%.2f", x) }
    function spread(sum, squares, count,    v) {
        v = count > 1 ? (squares - sum * sum / count) / (count - 1) : 0
        return count > 1 ? sprintf("%.4f", sqrt(v > 0 ? v : 0)) : "-"
    }
    END {
        count = split(optimizers, name, " "); seed_count = split(seeds, seed, " ")
        printf "%-10s %9s %5s %10s %8s %10s | %9s %11s %9s | %8s %8s\n", "optimizer", "lr", "seeds", "val loss", "+- seed", \
               "over floor", "steps", "tokens", "seconds", "speed-up", "speed-up"
        printf "%-10s %9s %5s %10s %8s %10s | %31s | %8s %8s\n", "", "", "", "final", "", "", "to " baseline "\047s final loss", \
               "steps", "seconds"
        print "optimizer,lr,seeds,val_loss,val_loss_sd,floor,steps_to_target,tokens_to_target,seconds_to_target,speedup_steps,speedup_seconds,reached,diverged" > csv
        for (o = 1; o <= count; o++) {
            sum = squares = s_steps = s_tokens = s_seconds = reached = base_steps = base_seconds = ended = 0
            for (k = 1; k <= seed_count; k++) {
                run = name[o] "," seed[k]; base = baseline "," seed[k]
                if (diverged[run])
                    continue
                ended++
                final = loss[run, n[run]]
                sum += final; squares += final * final
                if (!diverged[base] && crossing(run, loss[base, n[base]])) {
                    reached++
                    s_steps += at_step; s_tokens += at_tokens; s_seconds += at_seconds
                    crossing(base, loss[base, n[base]])
                    base_steps += at_step; base_seconds += at_seconds
                }
            }
            mean = ended ? sum / ended : 0
            over = ended && floor != "" ? sprintf("%.4f", mean - floor) : "-"
            by_steps = s_steps > 0 ? base_steps / s_steps : ""
            by_seconds = s_seconds > 0 ? base_seconds / s_seconds : ""
            if (reached > 0)
                cells = sprintf("%9.1f %11.0f %9.1f | %8s %8s", s_steps / reached, s_tokens / reached, s_seconds / reached, \
                                two(by_steps), two(by_seconds))
            else
                cells = sprintf("%9s %11s %9s | %8s %8s", ended ? "never" : "-", "-", "-", "-", "-")
            printf "%-10s %9g %5d %10s %8s %10s | %s\n", name[o], lr[name[o]], seed_count, \
                   ended ? sprintf("%.4f", mean) : "diverged", spread(sum, squares, ended), over, cells
            if (reached > 0 && reached < ended)
                note = note sprintf("%s: %d of %d seeds reached the target\n", name[o], reached, ended)
            if (ended > 0 && ended < seed_count)
                note = note sprintf("%s: %d of %d seeds diverged\n", name[o], seed_count - ended, seed_count)
            printf "%s,%s,%d,%s,%s,%s,%s,%s,%s,%s,%s,%d,%d\n", name[o], lr[name[o]], seed_count, \
                   ended ? sprintf("%.6f", mean) : "", spread(sum, squares, ended), floor, \
                   reached ? s_steps / reached : "", reached ? s_tokens / reached : "", reached ? s_seconds / reached : "", \
                   by_steps, by_seconds, reached, seed_count - ended > csv
        }
        if (note != "")
            printf "\n%s", note
    }' && mv "$dir/comparison.csv.tmp" "$dir/comparison.csv"
