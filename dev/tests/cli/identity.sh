# identity.sh: a resumed run goes on with the data it was begun with, wherever they lie now, and with no other.

# Two shards a.bin and b.bin, a text and a folder `run` that stopped after step 2 of 4, trained on them.
shards_of() { # first token of each
    for number in 1 2; do
        shard 20240520 1 300 300 "$1" > "$(printf '%s.bin' "$(echo a b | cut -d' ' -f$number)")"
        shift
    done
}

begun() { # kind: shards, text or stories
    shards_of 7 9
    cp "$work/story.txt" story.txt
    case $1 in
    shards) data="--train=[a-z].bi* --val=[a-z].bi*" ;;
    text) data="--text story.txt" ;;
    stories) data= ;;
    esac
    expect 0 shards $data --steps 4 --checkpoint-every 2 --keep 0 --out run
    cp -R run whole
    printf 'step_000002\n' > run/latest
}

# kind, what happens to the data, arguments of the resumed run, exit status, words (in stdout for status 0)
changed() {
    begun "$1"
    eval "$2"
    if [ "$4" -eq 0 ]; then
        expect 0 resume --out run $3
        same_end whole run
        [ -z "$5" ] || says_all "$5" out
    else
        changes_nothing "$4" resume --out run $3
        says_all "$5" err
    fi
}

while IFS='|' read -r kind name how arguments status words; do
    run_test "data $kind, $name" changed "$kind" "$how" "$arguments" "$status" "$words"
done <<'TABLE'
shards|the same|:||0|
shards|copied over themselves|cp a.bin c; cp c a.bin; rm c||0|
shards|a shard added at the end|cp a.bin c.bin||1|training data are not those;c.bin
shards|a new shard added in front|shard 20240520 1 300 300 5 > A.bin; mv A.bin 0.bin|--train=[0a-z].bi*|1|0.bin is new
shards|a shard removed|rm b.bin||1|b.bin is gone
shards|reordered|mv a.bin c; mv b.bin a.bin; mv c b.bin||1|comes at another place
shards|overwritten with other tokens|shard 20240520 1 300 300 8 > b.bin||1|b.bin holds other tokens
shards|overwritten with more tokens|shard 20240520 1 400 400 9 > b.bin||1|b.bin holds other tokens
shards|moved and named|mkdir there; mv [ab].bin there|--train=there/*.bi* --val=there/*.bi*|0|the same training data as before, now at there/a.bin
shards|moved, not named|mkdir there; mv [ab].bin there||1|give their new place
shards|only the validation is another|shard 20240520 1 300 300 8 > v|--val v|1|validation data are not those
shards|another folder's files of the same name|mkdir else; (cd else; shards_of 1 2)|--train=else/*.bi* --val=else/*.bi*|1|holds other tokens
text|the same|:||0|
text|overwritten, same size|tr a e < story.txt > s; cat s > story.txt||1|story.txt holds other tokens
text|longer|echo more >> story.txt||1|story.txt holds other tokens
text|moved and named|mkdir there; mv story.txt there/s.txt|--text there/s.txt|0|now at there/s.txt
text|moved, not named|mv story.txt s.txt||1|story.txt;give their new place
text|shards instead|:|--train a.bin|2|--text excludes --train
stories|the same|:||0|
stories|a text instead|:|--text story.txt|1|training data are not those
TABLE

from_elsewhere() {
    begun text
    mkdir other
    tr a e < story.txt > other/story.txt
    (cd other && expect 1 resume --out ../run) || exit 1
    says "story.txt holds other tokens" other/err
}
run_test "data: a file of the same name in another folder is noticed" from_elsewhere

evaluated() {
    begun text
    tr a e < story.txt > s; cat s > story.txt
    expect 1 resume --out run --steps 0 --sample-every 0
    says "story.txt holds other tokens" err
}
run_test "data: evaluation of a run looks at it, too" evaluated

# --- what else a run continues ---

schedule_moves() {
    cp -R "$work/made" run
    expect 0 resume --out run --steps 8
    says_all "--steps was 4 and is 8;goes on at 0.02" out
    expect 0 train --steps 4 --schedule constant --out flat
    expect 0 resume --out flat --steps 6
    grep -q "learning rate" out && fail "a constant rate is said to move"
    return 0
}
run_test "resuming with other --steps says where the rate goes on" schedule_moves

target_met() {
    expect 0 train --steps 40 --val-every 1 --target-loss 5.5 --out run
    expect 1 resume --out run
    says_all "has reached its target;--target-loss" err
    expect 1 resume --out run --target-loss 5.4999
    expect 0 resume --out run --target-loss 0
    says "done      40 steps" out
    expect 0 train --steps 4 --target-loss 6 --out early
    says "done      0 steps" out
    expect 1 resume --out early
    says "has reached its target" err
}
run_test "a target that was met is not met again" target_met

other_source() {
    cp -R "$work/made" run
    unseal run/run.json
    edit_json run/run.json 's/"source": "[^"]*"/"source": "older"/'
    expect 0 resume --out run --steps 6
    says "begun by train_gpt" out
}
run_test "another version of the program is said" other_source

# The record of a run says what made it, and of what.
says_what_made_it() {
    expect 0 train --steps 1 --out run
    for word in '"source": "' '"compiler": "' '"batch_size": ' '"sequence_length": ' '"ranks": 1' '"flops_per_token": ' '"passes_per_step": 1,' '"update_flops": '; do
        says "$word" run/run.json
    done
    for key in program hash; do
        grep -Eq "\"$key\": \"[0-9a-f]{16}\"" run/run.json || fail "run.json has no $key"
    done
    grep -o '"name": "[^}]*"hash": "[^"]*"' run/run.json > said
    grep -o '"name": "[^}]*"hash": "[^"]*"' run/step_000001/state.json | cmp -s said || fail "the checkpoint has other data"
    [ -e /proc/self/exe ] || return 0
    cp "$(dirname "$gpt")/train_gpt_cpu" other
    echo >> other # a program is as good with a line after its end
    expect 0 ./other $size $batch --text "$work/story.txt" --steps 1 --out with_other
    grep -o '"program": "[^"]*"' run/run.json > said
    grep -o '"program": "[^"]*"' with_other/run.json | cmp -s said || return 0
    fail "another program has the same checksum"
}
run_test "run.json says what program made a run, and of what data" says_what_made_it

# Of four steps the last three compare two gradients, or two are followed by one of drawn labels.
says_its_passes() {
    expect 0 train --steps 4 --optimizer mars --mars-form exact --out mars
    says '"passes_per_step": 1.75,' mars/run.json
    expect 0 train --steps 4 --optimizer sophia --refresh 2 --out sophia
    says '"passes_per_step": 1.5,' sophia/run.json
}
run_test "run.json says how many passes a step has" says_its_passes
