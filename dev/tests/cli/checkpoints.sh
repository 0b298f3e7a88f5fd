# checkpoints.sh: malformed ones are refused, whole ones kept; a failed write leaves the last.

# --- malformed checkpoints: each row edits one file of a good one ---

header_size() { od -An -tu1 -N 8 "$1" | awk '{ print $1 + 256 * $2 + 65536 * $3 }'; }

# Edits the header of a safetensors file by a sed script; the last argument bytes of data are cut off.
edit_header() { # file, script, bytes
    size_before=$(header_size "$1")
    dd if="$1" bs=1 skip=8 count="$size_before" 2> "$work/null" | sed "$2" > head
    data=$(($(wc -c < "$1") - 8 - size_before - ${3:-0}))
    tail -c +$((9 + size_before)) "$1" | head -c "$data" > data
    { little_endian "$(wc -c < head)" 8; cat head data; } > edited
    cmp -s edited "$1" && fail "the fault changed nothing: $2"
    mv edited "$1"
}

edit_json() { # file, script
    sed "$2" "$1" > edited
    cmp -s edited "$1" && fail "the fault changed nothing: $2"
    mv edited "$1"
}

# Replaces the first bytes of a file.
overwrite() { # file; the bytes come from stdin
    dd of="$1" conv=notrunc bs=1 2> "$work/null"
}

refuses_model() { # name, command that makes the fault in ./model, words, status
    cp -R "$model" model
    rm model/state.json # whose checksums would notice first
    eval "$2"
    expect "$4" "$gpt" --model model --text "$work/story.txt" --val-tokens 512 --steps 0 --device ${DEVICE:-cpu}
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines: $(head -n 3 err)"
    says_all "$3" err
}

run_table "refuses a checkpoint whose" refuses_model <<'TABLE'
folder is empty          | rm model/*                                                  | config.json | 2
config is broken         | edit_json model/config.json 's/"n_embd":/"n_embd"/'         | config.json;line | 2
config is cut            | head -c 99 model/config.json > c; mv c model/config.json    | config.json | 2
config lacks a key       | edit_json model/config.json '/"n_layer"/d'                  | config.json;n_layer | 2
config has a text size   | edit_json model/config.json 's/"n_embd": 16/"n_embd": "16"/' | n_embd | 2
config has a huge size   | edit_json model/config.json 's/"n_layer": 2/"n_layer": 99999999999/' | config.json;99999999999 | 2
config has no layers     | edit_json model/config.json 's/"n_layer": 2/"n_layer": 0/'  | config.json;n_layer | 2
heads do not divide      | edit_json model/config.json 's/"n_head": 2/"n_head": 3/'    | config.json;heads | 2
activation is another    | edit_json model/config.json 's/gelu_new/relu/'              | config.json;relu | 2
inner width is another   | edit_json model/config.json 's/"n_inner": [0-9]*/"n_inner": 65/' | must have shape;65 | 1
head is not tied         | edit_json model/config.json 's/embeddings": true/embeddings": false/' | lm_head.weight is missing | 1
kind is another          | edit_json model/config.json 's/"gpt2"/"gptj"/'              | gptj | 2
layers are more          | edit_json model/config.json 's/"n_layer": 2/"n_layer": 3/'  | model.safetensors;h.2. | 1
layers are fewer         | edit_json model/config.json 's/"n_layer": 2/"n_layer": 1/'  | model.safetensors;h.1. | 1
tensors are not there    | rm model/model.safetensors                                  | model.safetensors | 1
tensors are empty        | : > model/model.safetensors                                 | model.safetensors | 1
tensors are cut          | head -c 20000 "$model/model.safetensors" > model/model.safetensors | model.safetensors | 1
tensors are longer       | echo more >> model/model.safetensors                        | model.safetensors | 1
header is huge           | little_endian 99999999999 8 > p; overwrite model/model.safetensors < p | model.safetensors;header | 1
header has size 0        | zeros 8 > p; overwrite model/model.safetensors < p          | model.safetensors | 1
header is no JSON        | edit_header model/model.safetensors 's/^{/[/'               | model.safetensors | 1
header has a hole        | edit_header model/model.safetensors 's/"transformer.h.0.ln_1.bias":[^}]*},//' | model.safetensors | 1
header has an overlap    | edit_header model/model.safetensors 's/\[16,48\],"data_offsets":\[21504,24576\]/[16,48],"data_offsets":[18432,21504]/' | model.safetensors | 1
offsets go backwards     | edit_header model/model.safetensors 's/\[0,16384\]/[16384,0]/'         | model.safetensors;wte | 1
header has a key twice   | edit_header model/model.safetensors 's/h.1.ln_1.bias/h.0.ln_1.bias/'   | model.safetensors;h.0.ln_1.bias | 1
dtype is unknown         | edit_header model/model.safetensors 's/F32/F99/'            | wte.weight;F99 | 1
dtype is a whole number  | edit_header model/model.safetensors 's/F32/I32/'            | wte.weight;I32 | 1
last tensor is missing   | edit_header model/model.safetensors 's/,"transformer.ln_f.bias":[^}]*}//' 64 | ln_f.bias;missing | 1
tensor is unknown        | edit_header model/model.safetensors 's/ln_f.bias/ln_g.bias/' | ln_g.bias | 1
tensor is there twice    | edit_header model/model.safetensors 's/transformer.h.1.ln_1.bias/h.0.ln_1.bias/' | h.0.ln_1.bias;twice | 1
shape is transposed      | edit_header model/model.safetensors 's/\[256,16\]/[16,256]/' | wte.weight;[256, 16] | 1
shape overflows          | edit_header model/model.safetensors 's/\[256,16\]/[4294967296,4294967296]/' | wte.weight | 1
TABLE

# Edits state.json as if it were from before there were checksums.
edit_state() { # script
    unseal run/step_000004/state.json
    sed 's/"version": 3/"version": 1/; '"${1:-}" run/step_000004/state.json > edited
    mv edited run/step_000004/state.json
}

refuses_state() { # name, command that makes the fault in ./run, words, status
    cp -R "$work/made" run
    eval "$2"
    changes_nothing "$4" resume --out run --steps 8
    says_all "$3" err
}

run_table "refuses to resume when" refuses_state <<'TABLE'
run.json is not there     | rm run/run.json                                             | run.json | 2
run.json is broken        | edit_json run/run.json 's/}$//'                             | run.json | 2
run.json has no options   | echo '{}' > run/run.json                                    | run.json;options | 2
latest names what is gone | echo step_000003 > run/latest                               | step_000003 | 2
state.json is broken      | echo '{"step": 4' > run/step_000004/state.json              | state.json | 2
state.json lacks a key    | edit_state '1s/"tokens"/"token"/'                            | state.json;tokens | 1
state.json is negative    | edit_state 's/"step": 4/"step": -4/'                        | state.json | 2
state.json is of another  | edit_state 's/"step": 4/"step": 3/'                         | state.json;step 3 | 2
position is beyond        | edit_state 's/"loader_position": 16/"loader_position": 18446744073709551615/' | data position | 1
position is another       | edit_state 's/"loader_position": 16/"loader_position": 17/' | data position 17 | 1
optimizer state is gone   | rm run/step_000004/optimizer.safetensors                    | optimizer.safetensors | 2
optimizer state is cut    | head -c 9999 "$model/optimizer.safetensors" > run/step_000004/optimizer.safetensors | optimizer.safetensors | 2
a state tensor is renamed | edit_state; edit_header run/step_000004/optimizer.safetensors 's/ln_f.bias.m/ln_f.bias.n/' | ln_f.bias.m | 1
a state's shape is wrong  | edit_state; edit_header run/step_000004/optimizer.safetensors 's/\[256,16\]/[16,256]/' | wte.weight | 1
the step count is a word  | edit_state; edit_header run/step_000004/optimizer.safetensors 's/steps_done":"4/steps_done":"x/' | steps_done | 1
the step count is another | edit_state; edit_header run/step_000004/optimizer.safetensors 's/steps_done":"4/steps_done":"5/' | counts 5 steps, but state.json 4 | 1
an option is unknown      | unseal run/run.json; edit_json run/run.json 's/"warmup"/"warmap"/' | run.json;warmap | 2
the log is another's      | edit_json run/metrics.csv '1s/step/stop/'                   | metrics.csv | 1
TABLE

# --- which ones are kept ---

keeps() {
    expect 0 train --steps 5 --checkpoint-every 1 --keep 0 --out all
    [ "$(ls -d all/step_* | wc -l)" -eq 5 ] || fail "--keep 0 kept $(ls all)"
    expect 0 train --steps 5 --checkpoint-every 2 --keep 1 --out one
    [ "$(ls -d one/step_*)" = one/step_000005 ] || fail "--keep 1 kept $(ls one)"
    expect 0 train --steps 5 --out last
    [ "$(ls -d last/step_*)" = last/step_000005 ] || fail "no --checkpoint-every kept $(ls last)"
}
run_test "--keep keeps the newest" keeps

ignores_leftovers() {
    cp -R "$work/made" run
    mkdir run/step_000006.tmp
    echo half > run/step_000006.tmp/model.safetensors
    expect 0 resume --out run --steps 6
    [ ! -e run/step_000006.tmp ] || fail "step_000006.tmp is still there"
    [ "$(cat run/latest)" = step_000006 ] || fail "latest is $(cat run/latest)"
}
run_test "an unfinished checkpoint is ignored and replaced" ignores_leftovers

full_disk() {
    expect 0 train --steps 4 --checkpoint-every 2 --keep 0 --out run
    cp -R run kept
    (trap '' XFSZ; ulimit -f 20; expect 1 resume --out run --steps 8) || exit 1
    says_all "step_000006;cannot be written" err
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines"
    [ "$(cat run/latest)" = step_000004 ] || fail "latest is $(cat run/latest)"
    find run -name '*.tmp' | grep -q . && fail "left $(find run -name '*.tmp')"
    for file in config.json model.safetensors optimizer.safetensors state.json; do
        same kept/step_000004/$file run/step_000004/$file
    done
    expect 0 resume --out run
    expect 0 train --steps 8 --out whole
    cmp -s run/step_000008/model.safetensors whole/step_000008/model.safetensors && fail "the schedule did not change"
    [ "$(cat run/latest)" = step_000008 ] || fail "latest is $(cat run/latest)"
}
run_test "a full disk leaves the last checkpoint whole" full_disk

activations() {
    for activation in gelu gelu-exact relu2 silu; do
        expect 0 train --steps 2 --activation $activation --out $activation
        loss=$(awk -F, 'END { print $5 }' $activation/metrics.csv)
        expect 0 "$gpt" --model $activation/step_000002 --text "$work/story.txt" --val-tokens 512 --steps 0 --sample-every 0
        awk -v want="$loss" '/^val loss/ { d = $3 - want; good = d < 2e-6 && d > -2e-6 } END { exit !good }' out ||
            fail "$activation: loss $loss, then $(grep '^val loss' out)"
        echo "$loss"
    done > losses
    [ "$(sort -u losses | wc -l)" -eq 4 ] || fail "two nonlinearities give the same loss: $(cat losses)"
    expect 2 train --steps 2 --activation relu3
    says_all "--activation;relu3;relu2" err
    expect 2 "$gpt" --model relu2/step_000002 --text "$work/story.txt" --steps 0 --activation silu
    says_all "--activation silu contradicts;relu2" err
}
run_test "every nonlinearity trains, and comes back from its checkpoint" activations
