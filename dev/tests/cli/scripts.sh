# scripts.sh: speedruns and pictures in dev/speedrun, with a tiny model, in a folder of its own; dev/python.sh and
# dev/scaling.

scripts=$(cd "$here/../../speedrun" && pwd)
tiny="$size $batch --text $work/story.txt"

# ./gpt in place of train_gpt: notes every call in ./starts. Calls that match $FAILS end with status 1, those that match
# $DIVERGES with 3, and those that match $STOPS send their parent a signal after the first steps.
stand_in() {
    cat > gpt << END
#!/bin/sh
echo "\$*" >> "$PWD/starts"
is() { echo " \$all " | grep -Eq -e "\${1:-^\$}"; }
all=\$*
if is "\$FAILS"; then echo "train_gpt: no room at all" >&2; exit 1; fi
if is "\$DIVERGES"; then "$gpt" "\$@"; echo "train_gpt: diverged in step 3" >&2; exit 3; fi
is "\$STOPS" || exec "$gpt" "\$@"
"$gpt" "\$@" &
child=\$!
trap 'kill -s TERM \$child' TERM
for run; do :; done # the last word
until [ -f "\$run/metrics.csv" ] && [ "\$(wc -l < "\$run/metrics.csv")" -gt 3 ]; do sleep 0.02; done
kill -s TERM \$PPID
wait \$child
wait \$child
END
    chmod +x gpt
    : > starts
    export TRAIN_GPT="$PWD/gpt" PYTHON=false TRAIN_GPT_VENV="$PWD/none" # no picture, and nothing from the network
}

starts() { # of how many calls that contain $2
    [ "$(grep -c -e "$2" starts)" -eq "$1" ] || fail "$(grep -c -e "$2" starts) runs with $2 instead of $1: $(cat starts)"
}

speedrun() { "$scripts/speedrun.sh" "$@" -- $tiny --steps 8 --val-every 2; }

free_name() {
    stand_in
    mkdir bin
    printf '#!/bin/sh\necho now\n' > bin/date
    chmod +x bin/date
    for n in 1 2 3; do "$scripts/new_dir.sh" a/b & done > made
    wait
    [ "$(sort made | tr '\n' ' ')" = "a/b a/b-2 a/b-3 " ] || fail "$(cat made)"
    export PATH="$PWD/bin:$PATH"
    for n in 1 2; do expect 0 speedrun --seeds 1 --optimizers adamw; done
    for n in 1 2; do expect 0 "$scripts/rules.sh" --optimizers sgd -- $tiny --steps 2; done
    [ "$(echo runs/*)" = "runs/rules-now runs/rules-now-2 runs/speedrun-now runs/speedrun-now-2" ] || fail "$(ls runs)"
}
run_test "speedrun, rules: default folders of one second" free_name

named_options() {
    stand_in
    printf '# mine\noptimizer,size,val_loss,options\nadamw,1,2.5,--optimizer adamw --lr 2e-3\nadamw,2,2.5,--optimizer adamw --lr 1\n' > b.csv
    printf 'soap,1,2.4,"--optimizer soap --lr 0.01 --sensitivity wte=2,wpe=2"\r\n' >> b.csv
    expect 0 speedrun --seeds "1 2" --optimizers "adamw soap muon" --best b.csv --out s
    printf 'adamw: --optimizer adamw --lr 2e-3, from b.csv\n' > wanted
    printf 'soap: --optimizer soap --lr 0.01 --sensitivity wte=2,wpe=2, from b.csv\n' >> wanted
    echo "muon: b.csv has nothing of it; its defaults" >> wanted
    grep -v '^python.sh' err > said
    same wanted said
    starts 2 "adamw --lr 2e-3 --seed"
    starts 2 "soap --lr 0.01 --sensitivity wte=2,wpe=2 --seed"
    starts 2 "muon --seed"
    for script in speedrun diagnose; do
        expect 2 "$scripts/$script.sh" --best none.csv -- --diagnose 1
        says "--best none.csv: there is no such file" err
    done
}
run_test "speedrun: says which options it uses, and where from" named_options

bad_options() { # name, rows, words
    stand_in
    printf 'optimizer,size,val_loss,options\n'"$2"'\n' > b.csv
    expect 2 speedrun --best b.csv --out s
    says "$3" err
    [ ! -e s ] || fail "it made s"
}
run_table "speedrun --best:" bad_options << 'END'
one field      | adamw                                    | b.csv, line 2: a row is optimizer,size,val_loss,options
no options     | adamw,1,2.5,1e-3                         | b.csv, line 2: "1e-3" are no options
a shell's word | adamw,1,2.5,--lr $(touch s)              | b.csv, line 2:
two rows       | muon,1,2,--lr 1\nadamw,1,2,--lr 1\nadamw,1,,--lr 1 | b.csv, line 4: a second row for adamw
another header | name,lr,aux_lr                           | b.csv, line 2: a row is optimizer,size,val_loss,options
END

diverging_seed() {
    stand_in
    export DIVERGES='--optimizer muon .*--seed 2|--optimizer sgd'
    expect 0 speedrun --seeds "1 2" --optimizers "adamw muon sgd" --out s
    says_all "diverged in step 3;s/muon-seed2 diverged;s/sgd-seed1 diverged" err
    grep -q '^sgd  .* diverged  ' out && grep -q '^muon: 1 of 2 seeds diverged' out || fail "$(cat s/table.txt)"
    awk -F, '$1 == "muon" && $13 != 1 || $1 == "sgd" && ($13 != 2 || $4 != "") { exit 1 }' s/comparison.csv ||
        fail "$(cat s/comparison.csv)"
    says "=== a sample of muon" out
    grep '=== a sample of sgd' out && fail "a sample of what diverged"
    expect 0 speedrun --seeds "1 2" --optimizers "adamw muon sgd" --out s
    starts 6 --seed
    rm s/adamw-seed1/metrics.csv s/comparison.csv
    expect 1 "$scripts/compare.sh" s "adamw muon" 1
    says "s/adamw-seed1/metrics.csv is not there" err
    [ ! -s out ] && [ ! -e s/comparison.csv ] || fail "half a table"
}
run_test "speedrun: what diverged is in the table as diverged" diverging_seed

failing_run() {
    stand_in
    export FAILS='--optimizer muon '
    expect 1 speedrun --seeds 1 --out s
    says_all "train_gpt: no room at all;s/muon-seed1 failed with exit status 1" err
    grep 'final loss' out && fail "a table of half the runs"
    expect 1 "$scripts/rules.sh" --optimizers "sgd muon" --out r -- $tiny --steps 2
    says_all "train_gpt: no room at all;r/muon failed with exit status 1" err
    [ ! -e r/rules.csv ] || fail "a table of half the runs"
    expect 1 "$scripts/diagnose.sh" --optimizers "muon" --out d -- $tiny --steps 2 --diagnose 1
    says_all "train_gpt: no room at all;d/muon failed with exit status 1" err
}
run_test "speedrun, rules, diagnose: end at a run that fails, and say which" failing_run

diverging_rule() {
    stand_in
    export DIVERGES='--optimizer lion '
    expect 0 "$scripts/rules.sh" --optimizers "sgd lion muon" --out r -- $tiny --steps 3
    grep -q '^lion .* diverged ' out || fail "$(cat out)"
    says "lion,0.0002,5." r/rules.csv
    [ "$(grep -c diverged r/rules.csv) $(wc -l < r/rules.csv)" = "1 4" ] || fail "$(cat r/rules.csv)"
    expect 0 "$scripts/diagnose.sh" --optimizers "lion muon" --out d -- $tiny --steps 2 --diagnose 1
    says "diagnose: d/lion diverged" err
    [ -s d/muon/diagnose.jsonl ] || fail "muon was not run"
}
run_test "rules, diagnose: go on after a run that diverged" diverging_rule

# One run is over, the next is stopped: the first is kept, the second resumed, the others run. Then one dies without a
# checkpoint. In the end it is as if nothing had been.
continues_speedrun() {
    stand_in
    long="--seeds 1 -- $tiny --steps 600 --val-every 100"
    "$scripts/speedrun.sh" --out whole $long > whole.out 2>&1 || fail "$(tail -n 1 whole.out)"
    : > starts
    (export STOPS='--optimizer muon '; expect 143 "$scripts/speedrun.sh" --out s $long) || exit 1
    says "stopped in s/muon-seed1; the same command with --out s goes on" err
    [ ! -e s/pid ] || fail "it left s/pid"
    [ -f s/muon-seed1/latest ] || fail "the signal did not reach the program"
    expect 2 "$scripts/speedrun.sh" --out s -- $tiny --steps 601
    says "s was begun with other options" err
    echo $$ > s/pid
    expect 1 "$scripts/speedrun.sh" --out s $long
    says "process $$ is at work in s" err
    rm s/pid
    expect 0 "$scripts/speedrun.sh" --out s $long
    says "resuming s/muon-seed1 from step_" err
    starts 1 "--optimizer adamw"
    starts 1 "--resume --out s/muon-seed1"
    same_end s/muon-seed1 whole/muon-seed1
    rm s/muon-seed1/latest s/muon-seed1/ended
    expect 0 "$scripts/speedrun.sh" --out s $long
    says "starting s/muon-seed1 again" err
    same_end s/muon-seed1 whole/muon-seed1
    rm s/adamw-seed1/ended # as if it had ended just before its script was killed
    expect 0 "$scripts/speedrun.sh" --out s $long
    starts 1 "--optimizer adamw"
    starts 2 "--optimizer muon"
    says "to adamw's final loss" out
    mkdir mine
    expect 2 "$scripts/speedrun.sh" --out mine $long
    says "mine exists" err
}
run_test "speedrun: the same command goes on where it stopped" continues_speedrun

no_python() {
    export TRAIN_GPT_VENV="$PWD/venv"
    mkdir bin
    for tool in sh dirname grep mktemp rm tail cat mkdir chmod; do
        ln -s "$(command -v $tool)" bin/$tool
    done
    unset PYTHON
    find_python() { env PATH="$PWD/bin" "$@" "$scripts/../python.sh" no_such_module; }
    expect 1 find_python
    says "there is no python3 (Debian: apt-get install python3-venv)" err
    expect 1 find_python PYTHON=snake
    says "PYTHON is snake, which is not there" err
    printf '#!/bin/sh\ncase $* in *venv* | *no_such*) exit 1 ;; esac\n' > bin/python3
    chmod +x bin/python3
    expect 1 find_python
    says "python3 has no venv module" err
    cat > bin/python3 << 'END'
#!/bin/sh
case $* in *no_such_module*) exit 1 ;; "-m venv"*) ;; *) exit 0 ;; esac
mkdir -p "$3/bin"
printf '#!/bin/sh\necho WARNING; echo "ERROR: no route to the index"; exit 1\n' > "$3/bin/pip"
chmod +x "$3/bin/pip"
END
    expect 1 find_python
    says "pip cannot install it: ERROR: no route to the index" err
    printf '#!/bin/sh\ncase $* in *no_such*) exit 1 ;; -m*) echo "no space left"; exit 1 ;; esac\n' > bin/python3
    expect 1 find_python
    says "cannot create $PWD/venv: no space left" err
}
run_test "python.sh: says what is missing" no_python

needs_matplotlib() {
    plotter=$("$scripts/../python.sh" --find matplotlib) || skip "there is no Python with matplotlib"
}
plot() { "$plotter" "$scripts/plot.py" "$@"; }
plot_diagnose() { "$plotter" "$scripts/plot_diagnose.py" --out d "$@"; }

draws_runs() {
    needs_matplotlib
    stand_in
    expect 0 train --steps 6 --val-every 2 --out a/one
    printf '7,896,1.5,3.2e' >> a/one/metrics.csv # still being written
    expect 0 plot a/one
    says "drew a/one/loss.png" out
    expect 0 train --steps 6 --val-every 0 --out a/two
    expect 1 plot a/one a/two
    says "a/two has no validation loss" err
    expect 0 plot a/two
    cp -r a/one a/three
    expect 0 plot a/one a/three
    [ -s a/loss.png ] && [ -s a/one/loss.svg ] || fail "no pictures: $(cat out)"
    export DIVERGES='--optimizer muon '
    expect 0 speedrun --seeds 1 --out s
    expect 0 plot s
    says "drew s/comparison.png" out
    expect 1 plot s/none
    says "plot.py: s/none is not a directory" err
    expect 1 plot a
    says "plot.py: a is no run, for it has no metrics.csv, and no comparison" err
    head -n 1 a/one/metrics.csv > a/three/metrics.csv
    expect 1 plot a/three
    says "a/three/metrics.csv has no rows yet" err
    rm a/one/run.json
    expect 1 plot a/one
    says "plot.py: a/one/run.json: No such file" err
}
run_test "plot.py: one run, several, a comparison" draws_runs

draws_rules() {
    needs_matplotlib
    export TRAIN_GPT="$gpt" PYTHON="$plotter"
    expect 0 "$scripts/rules.sh" --optimizers "sgd adamw muon" --out r -- $tiny --steps 2
    printf 'rule,bytes,flops\nsgd,1e9,0\nadamw,2e9,0\nmuon,0,8e11\n' > costs.csv
    expect 0 "$scripts/rules.sh" --optimizers "sgd adamw muon" --out r --costs costs.csv -- $tiny --steps 2
    says "wrote r/rules.png" out
    sed -i.old 's/sgd,\([^,]*,[^,]*\),[^,]*/sgd,\1,diverged/' r/rules.csv
    expect 0 "$plotter" "$scripts/plot_rules.py" r/rules.csv costs.csv --out p
    [ -s r/rules.png ] && [ -s p.png ] || fail "no pictures"
    sed -i.old /muon/d costs.csv
    expect 1 "$plotter" "$scripts/plot_rules.py" r/rules.csv costs.csv --out p
    says "costs.csv has no muon" err
    expect 1 "$plotter" "$scripts/plot_rules.py" r/rules.csv none.csv --out p
    says "plot_rules.py: none.csv: No such file" err
}
run_test "plot_rules.py: every optimizer in one plane" draws_rules

draws_spectra() {
    needs_matplotlib
    expect 0 train --layers 1 --steps 2 --diagnose 1 --out one
    expect 0 plot_diagnose one
    [ -s d-spectra.png ] && [ -s d-rms.png ] || fail "no pictures: $(cat out)"
    largest=$(sed -n 's/^{"step": 2,.*"update": {[^}]*"stable_rank": \([0-9.]*\).*/\1/p' one/diagnose.jsonl | sort -g | tail -n 1)
    grep -q "^muon,2,update,.*,$(printf %.2f "$largest")\$" d-ranks.csv || fail "not $largest: $(cat d-ranks.csv)"
    expect 1 plot_diagnose one --layer 1
    says "--layer 1: the layers are 0" err
    mkdir other cut
    sed 's/"h\.0\.attn\./"blocks.3.mixer./; s/"h\.0\.mlp\./"blocks.3.ffn./' one/diagnose.jsonl > other/diagnose.jsonl
    expect 0 plot_diagnose other
    expect 1 plot_diagnose one other
    says "the runs have no layer in common" err
    sed 's/"h\.0\./"/' one/diagnose.jsonl > cut/diagnose.jsonl
    expect 1 plot_diagnose cut
    says "attn.c_attn.weight has no layer in it" err
    : > cut/diagnose.jsonl
    expect 1 plot_diagnose cut
    says "cut/diagnose.jsonl holds no rows: the run needs --diagnose N" err
    rm cut/diagnose.jsonl
    expect 1 plot_diagnose cut
    says "cut/diagnose.jsonl is not there: the run needs --diagnose N" err
}
run_test "plot_diagnose.py: one layer, other names, no rows" draws_spectra

predicts_scaling() {
    command -v python3 > /dev/null || skip "there is no python3"
    cp "$scripts"/../scaling/*.py "$scripts/../scaling/README.md" .
    expect 0 python3 scaling.py --check
    sed 's/| 1,056 |/| 1,057 |/' README.md > other
    mv other README.md
    expect 1 python3 scaling.py --check
    says "scaling.py: README.md lacks this table: AdamW" err
    [ "$(wc -l < err)" -eq 1 ] || fail "one number is wrong: $(cat err)"
    sed 's|2 \* layer / 3|layer / 3|' step.py > other
    mv other step.py
    expect 1 python3 scaling.py --check
    says "infinite bandwidth: " err
}
run_test "scaling.py: its page has its tables; the simulator agrees with closed formulas" predicts_scaling

# Kernels that report.sh must flag, each for a reason of its own, and one that it must not. Registers and spills are the
# compiler's word; the instructions are a stand-in's for cuobjdump.
flags_kernels() {
    nvcc=$(PATH="$PATH:/usr/local/cuda/bin" command -v nvcc) || skip "there is no nvcc"
    cat > kernels.cu << 'END'
template <int N>
__device__ float folded(const float *x)
{
    float kept[N], sum = 0;
    for (int i = 0; i < N; i++)
        kept[i] = x[i * 32];
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < N; i++)
            sum = sum * kept[i] + kept[(i * 7 + round) % N];
    return sum;
}
__global__ void __launch_bounds__(128) fine(float *y, const float *x) { *y = folded<32>(x + threadIdx.x); }
__global__ void unbounded(float *y, const float *x) { *y = folded<96>(x + threadIdx.x); }
__global__ void __launch_bounds__(1024) cramped(float *y, const float *x) { *y = folded<96>(x + threadIdx.x); }
__global__ void round_kernel(float *y, const float *x) { *y = *x; }
__global__ void stacked(float *y, const float *x) { *y = *x; }
namespace flash {
__global__ void forward_kernel(float *y, const float *x) { *y = *x; }
}
END
    mkdir tools
    cat > tools/cuobjdump << 'END'
#!/bin/sh
printf '%s\n' ' Function : _Z7stackedPfPKf' ' STL [R1], R2 ;' ' Function : _Z12round_kernelPfPKf' ' LDG.E R2, [R2.64] ;' \
    ' Function : _ZN5flash14forward_kernelEPfPKf' ' FFMA R2, R2, R3, R4 ;'
END
    chmod +x tools/cuobjdump
    cp tools/cuobjdump tools/nvdisasm
    expect 1 env NVCC="$nvcc" CUDA_ARCH=90 CUOBJDUMP=cuobjdump PATH="$PWD/tools:$PATH" \
        "$scripts/../bench/cuda/report.sh" --check kernels.cu
    sed -nE 's/ +sm_90.* [0-9]+  /:/p' out | LC_ALL=C sort > flags
    cmp - flags << 'END' || fail "$(cat flags)"
cramped:spills
fine:
flash::forward_kernel:no tensor cores
round_kernel:no 16-byte loads
stacked:local memory
unbounded:registers of 1024 threads
END
}
run_test "report.sh: flags kernels for registers, spills, local memory, narrow loads, no tensor cores" flags_kernels

pages_and_tables() {
    python=$("$scripts/../python.sh" --find numpy scipy) || skip "there is no Python with SciPy"
    mkdir -p dev/lab/results dev/orthogonalisation dev/speedrun optim
    cp -R "$scripts/../pages" "$scripts/../experiments" "$scripts/../studies" dev
    cp -R "$scripts/results" dev/speedrun
    cp "$scripts/../../README.md" .
    cp "$scripts/../../optim/README.md" optim
    cp "$scripts/../lab/README.md" dev/lab
    cp "$scripts"/../lab/results/*.csv dev/lab/results
    cp "$scripts/../orthogonalisation/README.md" "$scripts"/../orthogonalisation/*.csv dev/orthogonalisation
    pages() { env PYTHONPATH=dev "$python" -m pages "$@"; }
    expect 0 pages --check
    sed 's/^| `track3` | 12 |/| `track3` | 13 |/' dev/orthogonalisation/README.md > other
    mv other dev/orthogonalisation/README.md
    expect 1 pages --check
    says "is not what the tables say: | \`track3\` | 12 |" err
    [ "$(wc -l < err)" -eq 1 ] || fail "one number is wrong: $(cat err)"
    expect 0 pages
    cmp dev/orthogonalisation/README.md "$scripts/../orthogonalisation/README.md" || fail "the page is another"
    sed 's/| 848 | 1.37 |/| 849 | 1.37 |/' optim/README.md > other
    mv other optim/README.md
    expect 1 pages
    says "muon: 848 GFLOP" err
    cp "$scripts/../../optim/README.md" optim
    echo "It is 1.5 times better." >> dev/lab/README.md
    expect 1 pages
    says "no table bears 1.5" err
}
run_test "pages: the text says what the tables say" pages_and_tables
