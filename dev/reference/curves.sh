#!/bin/sh
# curves.sh SHARDS [NAME...]: trains small models by the presets (all, or those named), 50 steps each, and PyTorch by
# the records that they follow, from the same parameters and on the same batches; curves.py says how. SHARDS are GPT-2
# tokens, as a glob. Presets of bytes read the file in $TEXT [README.md]. Everything goes to build/curves.
shards=$1
[ -n "$shards" ] || {
    echo "curves.sh: no data: make curves SHARDS='shards/train_*.bin', GPT-2 tokens in llm.c's format" >&2
    exit 2
}
shift
wanted=${*:-all}
text=${TEXT:-README.md}
out=build/curves
steps=50
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
python=$(dev/python.sh torch numpy safetensors matplotlib transformers) || exit 1
mkdir -p $out || exit 1

# ours NAME FOLDER OPTION...: a run of the preset in a fresh folder
ours() {
    name=$1 folder=$2
    shift 2
    rm -rf "$folder"
    ./train_gpt_cpu --preset "$name" --seed 1 --seq-len 64 --planned-steps 0 --val-every 0 --sample-every 0 "$@" \
        --out "$folder" > "$folder.log" 2>&1 || {
        cat "$folder.log"
        exit 1
    }
}

# curve NAME DATA VOCABULARY BATCH TOTAL REST OPTION...: REST are the options of further rates, for the run at rate 0
curve() {
    name=$1 data=$2 vocab=$3 batch=$4 total=$5 rest=$6
    shift 6
    case " $wanted " in *" all "* | *" $name "*) ;; *) return ;; esac
    [ "$vocab" = 256 ] && source=--text || source=--train
    set -- $source "$data" --batch-size "$batch" --total-batch "$total" "$@"
    mkdir -p $out/$name || exit 1
    rm -f $out/$name.csv $out/$name+.csv
    ours $name $out/$name/start "$@" --steps 1 --lr 0 $rest
    ours $name $out/$name/run "$@" --steps $steps
    build/write_batches $out/$name/batches.safetensors "$data" $vocab 1 64 "$batch" $((steps * total / 64 / batch)) ||
        exit 1
    "$python" dev/reference/curves.py train $name $out || exit 1
    case $name in track3-adamh | nanogpt-cpu) "$python" dev/reference/curves.py train $name+ $out || exit 1 ;; esac
}

speedrun() {
    name=$1
    shift
    curve "$name" "$shards" $vocab 4 512 "--aux-lr 0" --layers 2 --width 48 --heads 3 "$@"
}
track3() {
    name=$1
    shift
    curve "$name" "$shards" 50304 4 256 "--embed-lr 0 --head-lr 0 --vector-lr 0" --layers 2 --width 48 --heads 3 "$@"
}

branch="--value-scale 0.5" # 1/sqrt(2 x 2)
vocab=50257
speedrun record-1 --warmup 5
speedrun record-2 --warmup 5 $branch
speedrun record-3 --warmup 5 $branch
speedrun record-4 $branch
vocab=50304
speedrun record-5
speedrun record-6
track3 track3-muon
track3 track3-adamw --warmup 5
track3 track3-adamh --warmup 5
track3 track3-muonh
track3 track3-normuon
track3 track3-normuonh
track3 track3-muon2
track3 track3-shampoo
track3 track3-soaph --planned-steps $((steps + 2)) --aux-planned-steps $steps
track3 track3-klsoaph
track3 track3-spectral
curve nanogpt-cpu "$text" 256 12 768 "--aux-lr 0" --warmup 6 # where the judge counts 5
curve modula-gpt "$text" 256 12 768 "--embed-lr 0 --head-lr 0"
curve llama-nano "$text" 256 4 256 "--aux-lr 0" --layers 2 --width 48 --heads 4 --kv-heads 2 --warmup 5
"$python" dev/reference/curves.py draw $out
