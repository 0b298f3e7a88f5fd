# bad_commands.sh: wrong options, values and folders are refused.

# The program must refuse: exit status, one line on stderr that holds all words (separated by ;), nothing made or
# changed in the folder, which holds a finished run `old`.
refuses() { # arguments, words, status
    words=$2 wanted=$3
    eval "set -- $1"
    cp -R "$work/made" old
    changes_nothing "$wanted" train --steps 2 "$@"
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines: $(head -n 3 err)"
    says_all "$words" err
}

run_table refuses refuses <<'TABLE'
--optimizr muon             | --optimizr;did you mean --optimizer      | 2
--no-lr                     | --no-lr                                  | 2
--qqqqqqqqqqqq              | there is no option --qqqqqqqqqqqq        | 2
adamw                       | 'adamw' is not an option                 | 2
-x                          | '-x' is not an option                    | 2
--                          | is not an option                         | 2
--lr                        | --lr needs a value                       | 2
--resume=yes                | --resume takes no value                  | 2
--no-nesterov=1             | takes no value                           | 2
--optimizer moun            | moun;muon                                | 2
--aux-optimizer adan        | 'adan';adamw                             | 2
--aux-optimizer muon        | --aux-optimizer muon;hidden matrices     | 2
--ns jordon                 | --ns;jordon;jordan                       | 2
--muon-scale big            | --muon-scale;'big';moonshot              | 2
--schedule step             | --schedule;'step';cosine                 | 2
--dtype fp16                | --dtype;fp16;bf16                        | 2
--device tpu                | --device;tpu;cuda                        | 2
--dtype bf16                | bf16;GPU;--dtype fp32                    | 2
--recompute layers          | layers;GPU;--recompute nothing           | 2
--recompute all             | --recompute;'all';cheap                  | 2
--batch-size auto           | auto;--total-batch                       | 2
--batch-size fit            | --batch-size;or auto;'fit'               | 2
--batch-size auto --total-batch 65 --seq-len 32 | 65;32 tokens         | 2
--model gpt3                | gpt3;gpt2-medium                         | 2
--model ''                  | --model                                  | 2
--model "$work/story.txt"   | --model;nor a directory                  | 2
--lr nan                    | --lr;nan                                 | 2
--lr -1                     | --lr;-1                                  | 2
--lr 1e30                   | --lr;1e+30                               | 2
--lr inf                    | --lr;inf                                 | 2
--lr fast                   | --lr;fast                                | 2
--lr=                       | --lr needs a number                      | 2
--lr 1e-3x                  | 1e-3x                                    | 2
--aux-lr nan                | --aux-lr;nan                             | 2
--embed-lr -1               | --embed-lr;-1                            | 2
--head-lr 0.1               | --head-lr;tied                           | 2
--head-weight-decay 0.1     | --head-weight-decay;tied                 | 2
--vector-lr nan             | --vector-lr;nan                          | 2
--schedule constant --cooldown 0.2        | --cooldown;--schedule constant      | 2
--schedule constant --final-lr 0.2        | --final-lr;--schedule constant      | 2
--schedule linear --cooldown-power 2      | --cooldown-power;--schedule linear  | 2
--schedule cosine --aux-cooldown 0.3      | --aux-cooldown;--schedule cosine    | 2
--norm rmsnorm-no-gain --attention-bias none --mlp-bias off --vector-lr 1 | --vector-lr;neither gains | 2
--preset record-1-nano --preset nano      | --preset twice                      | 2
--preset record-l-nano      | did you mean record-1-nano?              | 2
--head-optimizer muon       | --head-optimizer;tied                    | 2
--embed-optimizer adan      | 'adan';adamw                             | 2
--cooldown-power 0          | --cooldown-power;0                       | 2
--aux-cooldown 2            | --aux-cooldown;2                         | 2
--planned-steps 1           | --planned-steps 1;--steps 2              | 2
--momentum 1                | --momentum;below 1                       | 2
--beta1 0.9                 | muon does not use --beta1                | 2
--optimizer adamw --momentum 0.9          | adamw does not use --momentum       | 2
--optimizer adamw --ns exact              | adamw does not use --ns             | 2
--aux-optimizer sgd --aux-beta1 0.9       | sgd does not use --aux-beta1        | 2
--optimizer sgd --nesterov --momentum 0   | --nesterov;--momentum               | 2
--ns-steps 1.5              | --ns-steps;1.5                           | 2
--eps-mode middle           | --eps-mode;'middle';inside               | 2
--optimizer adamw --eps-max 1e-9          | --eps-max;--eps                     | 2
--optimizer adamw --eps-max 1 --eps-start 0.5 --eps-end 0.5 | --eps-start;--eps-end       | 2
--optimizer muon --eps-max 1              | muon does not use --eps-max         | 2
--optimizer sgd --momentum-form ema --dampening 0.1 | --dampening;--momentum-form         | 2
--optimizer shampoo --sides three         | --sides;'three';one                 | 2
--optimizer shampoo --refresh 0           | --refresh;0                         | 2
--optimizer dion --rank -1                | --rank;-1                           | 2
--aux-optimizer shampoo     | --aux-optimizer shampoo;hidden matrices  | 2
--sensitivity c_fc          | --sensitivity;'c_fc';NAME=X              | 2
--sensitivity c_fc=0        | --sensitivity;'c_fc=0'                   | 2
--sensitivity c_fc=1,nix=2  | --sensitivity;'nix';--list-groups        | 2
--ema-nesterov nan          | --ema-nesterov;nan                       | 2
--muloco-rate 0.5                         | --muloco-rate;--muloco              | 2
--optimizer muon --floor-by row           | --floor-by row;--step-floor         | 2
--optimizer schedule-free --muloco 2      | --muloco;schedule-free              | 2
--optimizer dion2 --muon-scale rms        | --muon-scale rms                    | 2
--muloco 2 --muloco-momentum 1            | --muloco-momentum 1                 | 2
--tail-ema 10               | --tail-ema 10;--tail-ema-from            | 2
--tail-ema-share 2          | --tail-ema-share;2                       | 2
--tail-ema-from 3           | --tail-ema-from 3;--tail-ema             | 2
--tail-ema 1 --tail-ema-from 99           | --tail-ema-from 99;2 steps          | 2
--ema-nesterov-from 3       | --ema-nesterov-from;--ema-nesterov       | 2
--ema-nesterov 1 --ema-nesterov-decay 1   | --ema-nesterov-decay 1              | 2
--ema-nesterov 1 --ema-nesterov-from 5 --ema-nesterov-until 2 | --ema-nesterov-from 5     | 2
--optimizer adamw --eps-rate 1            | --eps-rate;--eps-max                | 2
--aux-eps-max 1 --aux-eps-start .9 --aux-eps-end .5 | --aux-eps-start;--aux-eps-end | 2
--ns exact --ns-steps 3     | --ns-steps 3;--ns exact                  | 2
--sensitivity wte=1e-12     | embed;--sensitivity                      | 2
--diagnose -1               | --diagnose;-1                            | 2
--ns-steps 100              | --ns-steps;100                           | 2
--clip nan                  | --clip;nan                               | 2
--cooldown 2                | --cooldown;2                             | 2
--final-lr -1               | --final-lr;-1                            | 2
--temperature -1            | --temperature;-1                         | 2
--target-loss nan           | --target-loss;nan                        | 2
--layers 0                  | --layers;0                               | 2
--heads 0                   | --heads;0                                | 2
--width 0                   | --width;0                                | 2
--vocab 0                   | --vocab;0                                | 2
--seq-len 0                 | --seq-len;0                              | 2
--batch-size 0              | --batch-size;0                           | 2
--layers -1                 | --layers;-1                              | 2
--layers 1e30               | --layers;1e30                            | 2
--width 99999999999999999999 | --width;99999999999999999999            | 2
--width 9007199254740992    | --width;9007199254740992                 | 2
--layers 4097               | --layers;4097                            | 2
--layers 2.5                | --layers;2.5                             | 2
--layers ''                 | --layers needs                           | 2
--steps many                | --steps;many                             | 2
--threads 100000            | --threads;100000                         | 2
--heads 3                   | --heads 3;--width 16                     | 2
--positions rotary --heads 16 --width 16   | --positions rotary;multiple of 2;--heads 16 | 2
--positions rotary-half --heads 8 --width 16 | multiple of 4 | 2
--rotary-base 500                          | --rotary-base;--positions learned | 2
--positions rotary --rotary-base 0         | --rotary-base | 2
--kv-heads 3                               | --kv-heads 3;--heads 2 | 2
--softcap-limit 15                         | --softcap-limit;--softcap none | 2
--softcap tanh --softcap-limit 0           | --softcap-limit | 2
--attention-scale 0                        | --attention-scale | 2
--norm-eps -1                              | --norm-eps | 2
--norm batchnorm                           | --norm;'batchnorm';rmsnorm | 2
--mlp-width 0                              | --mlp-width | 2
--dropout 1                                | --dropout | 2
--qk-clip -1                               | --qk-clip is -1 | 2
--qk-clip 30 --qk-norm gain                | --qk-clip;--qk-norm | 2
--first-batch 64                           | --batch-growth | 2
--first-batch 100 --batch-growth 2         | --first-batch 100;micro-batch | 2
--aux-planned-steps 1                      | --aux-planned-steps 1 | 2
--total-batch 100           | --total-batch 100;128                    | 2
--batch-size 9007199254740992 | --batch-size;too large                 | 2
--batch-size 100000000      | out of memory;--batch-size               | 1
--width 1048576 --heads 1   | out of memory                            | 1
--vocab 100                 | 256;--vocab                              | 2
--prompt x --vocab 300 --train x.bin | --prompt;--tokenizer             | 2
--tokenizer gpt2            | data/get tokenizer                       | 2
--tokenizer nowhere         | nowhere;cannot be opened                 | 2
--out old                   | old exists;--resume                      | 2
--resume                    | --resume needs --out                     | 2
--resume --out none         | none                                     | 2
--resume --out old --steps 8 --seed 2          | --seed 2;begun with 1                | 2
--resume --out old --steps 8 --lr 0.5          | --lr 0.5;the default                 | 2
--resume --out old --steps 8 --width 32        | --width 32;begun with 16             | 2
--resume --out old --steps 8 --optimizer adamw | --optimizer adamw;begun with muon    | 2
--resume --out old --steps 8 --text other.txt  | other.txt;give their new place       | 1
--resume --out old --steps 8 --batch-size 3    | --total-batch 128;--batch-size 3     | 2
--resume --out old --steps 3                   | step 4 of 3                          | 1
--train "$work/good.bin"                       | --text;--train                       | 2
--text none.txt             | none.txt                                 | 1
--text "$work"              | not a regular file                       | 1
--text "$work/empty.txt"    | empty.txt;is empty                       | 1
--text "$work/short.txt"    | short.txt;10 bytes                       | 1
TABLE

no_gpu() {
    [ ! -e "${gpt%/*}/train_gpt_cuda" ] || skip "train_gpt_cuda is built"
    refuses "--device cuda" "--device cuda" 2
}
run_test "refuses --device cuda without one" no_gpu

unreadable() {
    [ "$(id -u)" -ne 0 ] || skip "root reads everything"
    mkdir closed
    chmod 0 closed
    expect 1 train --steps 2 --out closed/run
    says closed err
    expect 1 shards --steps 2 --train 'closed/*.bin'
    says closed err
}
run_test "refuses folders that are closed" unreadable
