#!/bin/sh
# test_bench.sh BENCH: the benchmark of the CPU beside rivals whose figures are known: every table is there and narrow,
# its ratios are right, what is missing is said, and nothing goes on when it has ended.
bench=$1
. "$(dirname "$0")/checks.sh"
unset BENCH_TORCH BENCH_LLMC
export OMP_NUM_THREADS=2

refused() {
    "$@"
    [ $? -eq 2 ]
}
says() { grep -E -- "$2" "$1" || { echo "$1 does not say '$2'"; return 1; }; }
# Of the lines that match $2, field $3 is $4.
field() {
    awk -v line="$2" -v i="$3" -v want="$4" '$0 ~ line { n++; if ($i != want) { print; bad = 1 } }
        END { exit bad || !n }' "$1"
}
narrow() { awk 'length > 80 { print; bad = 1 } END { exit bad }' "$@"; }
ended() { while read -r pid; do ! kill -0 "$pid" 2> /dev/null || return 1; done < "$1"; }

# Answers every request with 1000 in 2 s, 4 s of them CPU time.
cat > "$work/steady" <<END
#!/bin/sh
echo \$\$ >> "$work/pids"
while read -r request; do
    echo "\$request" >> "$work/requests"
    echo "not an answer"
    echo '{"count": 1000, "wall": 2, "cpu": 4, "passes": 4, "rss": 3145728}'
done
END
printf '#!/bin/sh\nread -r request\n' > "$work/leaving"
chmod +x "$work/steady" "$work/leaving"
quick="--models nano --rounds 1 --seconds 0"

check "an unknown option is refused" refused "$bench" --rouns 3
check "an unknown table is refused" refused "$bench" --tables steps,moun
check "an option without a value is refused" refused "$bench" --rounds
check "no rounds are refused" refused "$bench" --rounds 0
check "threads that fall are refused" refused "$bench" --threads 2,1
check "--help says how llm.c is had" sh -c "'$bench' --help | grep -q 'LLMC=../llm.c'"
# shellcheck disable=SC2086 # several options
check "alone it measures itself" sh -c "'$bench' $quick > '$work/alone' 2>&1"
check "and says what is missing" says "$work/alone" "not measured: PyTorch"
check "decoding stands beside a dash" says "$work/alone" "^nano +2 +[0-9.]+ +- +- +[0-9.]+ +- +-$"
check "the products are those of five layers" says "$work/alone" "^ +2048 +512 +128 NT +1 +5 "
check "and Muon's are symmetric" says "$work/alone" "^ +128 +128 +128 NT +20 sym\. +5 "
# shellcheck disable=SC2086
check "beside rivals" sh -c "BENCH_TORCH='$work/steady' BENCH_LLMC='$work/leaving' '$bench' $quick \
    --tables steps,decoding,neighbours,muon > '$work/beside' 2> '$work/errors'"
check "no line is too long" narrow "$work/alone" "$work/beside"
check "a rival's tokens a second" field "$work/beside" "^nano .*torch.compile.* 3$" 4 500
check "and a CPU second" field "$work/beside" "^nano .*torch.compile.* 3$" 6 250
check "a turn of each thread count is asked for" says "$work/requests" "^step 2 0$"
check "what kept its speed beside neighbours had 1.5 times its share" \
    field "$work/beside" "^nano +1 PyTorch +500 +500" 7 150%
check "and two threads twice theirs" field "$work/beside" "^nano +2 PyTorch +500 +500" 7 200%
check "decoding: 2 ms a token, 4 of CPU time" says "$work/beside" "^nano +1 +[0-9.]+ +2.00 +[0-9.]+ +[0-9.]+ +4.00 "
check "Muon's whole step is twelve of every set" says "$work/beside" "^gpt2, 12 layers +[0-9.]+ +72.0 .* 72.0 "
check "a rival that leaves is named" says "$work/errors" "llm.c ended at 'step'"
check "and is in no row" sh -c "! grep -q '^nano .*llm.c' '$work/beside'"
check "all have ended" ended "$work/pids"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
