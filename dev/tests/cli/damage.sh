# damage.sh: what a power cut, flipped bits or a hand leave behind is noticed, said, and survived where it can be.

# A finished run of 6 steps with checkpoints after 2, 4 and 6, made once.
(cd "$work" && train --steps 6 --checkpoint-every 2 --keep 0 --val-every 2 --diagnose 2 --out three > three.out 2>&1) ||
    { cat "$work/three.out"; exit 1; }

flip() { # file, byte, bit: changes one bit
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    little_endian $((byte ^ (1 << $3))) 1 | dd of="$1" bs=1 seek="$2" conv=notrunc 2> "$work/null"
}

# damages run/..., then resumes to step 8 from an older checkpoint, or refuses
survives() { # command, step it continues from, words
    cp -R "$work/three" run
    eval "$1"
    expect 0 resume --out run --steps 8
    says_all "$3" out
    [ "$(cat run/latest)" = step_000008 ] || fail "latest is $(cat run/latest)"
    expect 0 train --steps 6 --checkpoint-every 2 --keep 0 --val-every 2 --out whole
    [ "$2" = 6 ] || printf 'step_%06d\n' "$2" > whole/latest
    expect 0 resume --out whole --steps 8
    same whole/step_000008/model.safetensors run/step_000008/model.safetensors
}

while IFS='|' read -r name how from words; do
    run_test "survives: $name" survives "$how" "$from" "$words"
done <<'TABLE'
latest is gone|rm run/latest|6|run/latest;continuing from run/step_000006
latest is empty|: > run/latest|6|run/latest;continuing from run/step_000006
latest leaves the run|echo ../three/step_000004 > run/latest|6|run/latest: holds
latest names what is gone|rm -r run/step_000006|4|step_000006, which is not there;continuing from run/step_000004
a flipped weight|flip run/step_000006/model.safetensors 9000 3|4|model.safetensors: does not match its checksum;continuing from run/step_000004
a flipped moment|flip run/step_000006/optimizer.safetensors 12345 0|4|optimizer.safetensors: does not match
a tail of zeros|truncate -s -100 run/step_000006/model.safetensors; truncate -s +100 run/step_000006/model.safetensors|4|model.safetensors: does not match
a flipped configuration|edit_json run/step_000006/config.json 's/"n_head": 2/"n_head": 4/'|4|config.json: does not match
a flipped position|edit_json run/step_000006/state.json 's/"loader_position": 2/"loader_position": 3/'|4|state.json: was damaged
a checkpoint of another step|rm -r run/step_000006; cp -R run/step_000002 run/step_000006|4|state.json: is that of step 2
two damaged|: > run/step_000006/state.json; : > run/step_000004/config.json|2|step_000006/state.json;continuing from run/step_000002
an empty log|: > run/metrics.csv|6|metrics.csv: the rows after step 0, up to 6, are lost
a log of zeros|head -c 300 /dev/zero > run/metrics.csv|6|metrics.csv: the rows after step 0
a log without its end|head -n 5 run/metrics.csv > m; mv m run/metrics.csv|6|metrics.csv: the rows after step 3, up to 6, are lost
a log cut in its header|head -c 9 run/metrics.csv > m; mv m run/metrics.csv|6|metrics.csv: the rows after step 0
no log|rm run/metrics.csv|6|metrics.csv: the rows after step 0
an empty record of spectra|: > run/diagnose.jsonl|6|diagnose.jsonl: the rows after step 0, up to 6, are lost
TABLE

refuses_damage() { # command, status, words
    cp -R "$work/three" run
    eval "$1"
    changes_nothing "$2" resume --out run --steps 8
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines"
    says_all "$3" err
}

while IFS='|' read -r name how status words; do
    run_test "refuses: $name" refuses_damage "$how" "$status" "$words"
done <<'TABLE'
a flipped option in run.json|edit_json run/run.json 's/"steps": "6"/"steqs": "6"/'|2|run.json: was damaged
all checkpoints damaged|for s in 2 4 6; do : > run/step_00000$s/config.json; done|2|no checkpoint is intact;step_000006/config.json
no checkpoint|rm -r run/step_*|2|holds no checkpoint
a checkpoint of a newer program|unseal run/step_000006/state.json; edit_json run/step_000006/state.json 's/"version": 3/"version": 4/'|2|step_000006/state.json: version 4 was written by a newer program
a pipe as run.json|rm run/run.json; mkfifo run/run.json|2|run.json: is not a regular file
a pipe as metrics.csv|rm run/metrics.csv; mkfifo run/metrics.csv|1|metrics.csv: is not a regular file
another program's log|sed 1s/step/stop/ run/metrics.csv > m; mv m run/metrics.csv|1|metrics.csv: not a log of this program
TABLE

no_links() {
    cp -R "$work/three" run
    echo precious > precious
    ln -s ../precious run/latest.tmp
    ln -s ../precious run/run.json.tmp
    expect 0 resume --out run --steps 8
    [ "$(cat precious)" = precious ] || fail "a link was followed"
}
run_test "temporary files never follow a link" no_links

escapes() {
    cp -R "$work/three" run
    esc=$(printf '\033[31m')
    printf 'step_%s\n' "$esc" > run/latest
    expect 0 resume --out run --steps 8
    grep -q "$(printf '\033')" out && fail "an escape code from latest reached the screen"
    cp -R "$model" model
    rm model/state.json
    edit_json model/config.json "s/gelu_new/$esc\\\\n/"
    expect 2 "$gpt" --model model --text "$work/story.txt" --steps 0
    grep -q "$(printf '\033')" err && fail "an escape code from config.json reached the screen"
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines"
    cp "$work/good.bin" "a$esc.bin"
    expect 0 shards --steps 1 --train 'a*.bin' --out esc
    expect 1 shards --steps 1 --train 'a*.bin' --seq-len 2000 --out esc2
    grep -q "$(printf '\033')" err && fail "an escape code from a file's name reached the screen"
    return 0
}
run_test "nothing from a file reaches the screen as an escape code" escapes

odd_names() {
    name=$(printf 'caf\351.txt')
    cp "$work/story.txt" "$name" 2> "$work/null" || skip "the file system wants UTF-8"
    expect 0 shards --text "$name" --steps 4 --checkpoint-every 2 --keep 0 --out run
    printf 'step_000002\n' > run/latest
    expect 0 resume --out run
    expect 0 train --steps 3 --sensitivity "$(awk 'BEGIN { for (i = 0; i < 400; i++) printf "c_fc=1.5,"; print "wte=2" }')" --out long
    expect 0 resume --out long --steps 4
}
run_test "names that are no UTF-8 and long values come back from the record" odd_names

not_finite() {
    cp -R "$model" model
    rm model/state.json
    size_of=$(header_size model/model.safetensors)
    printf '\000\000\300\177' | dd of=model/model.safetensors bs=1 seek=$((8 + size_of + 400)) conv=notrunc 2> "$work/null"
    expect 1 "$gpt" --model model --text "$work/story.txt" --steps 0
    says_all "model.safetensors: tensor;holds nan" err
    expect 1 "$gpt" --model model --text "$work/story.txt" $batch --steps 2
    says "holds nan" err
}
run_test "weights that are not finite are refused by name" not_finite
