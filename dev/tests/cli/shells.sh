# shells.sh: the completion of options in shells, the manual page, and what make install puts where.

root=$(cd "$here/../../.." && pwd)

# What --help lists, one a line: --lr, --nesterov, --no-nesterov.
listed_options() { sed -n 's/^  \(--[a-z0-9-]*\)\(, --[a-z0-9-]*\)\{0,1\}.*/\1\2/p' "$1" | tr -d ',' | tr ' ' '\n'; }

# Calls the function that bash would for a Tab after these words; a line for each reply, and one for files or folders.
cat > "$work/tab.bash" << 'END'
compopt() { echo "($2)"; }
. "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
function=$(complete -p train_gpt | sed 's/.*-F \([^ ]*\).*/\1/')
"$function"
[ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"
END
tab() { bash "$work/tab.bash" ./script train_gpt "$@" > replies 2> err || fail "$*: $(head -n 1 err)"; }

replies_are() { # words with blanks between them, in any order; the words before Tab
    wanted=$(for word in $1; do echo "$word"; done | sort | tr '\n' ' ')
    shift
    tab "$@"
    [ "$(sort replies | tr '\n' ' ')" = "$wanted" ] || fail "$*: $(tr '\n' ' ' < replies)instead of $wanted"
}

completes() {
    command -v bash > "$work/null" || skip "there is no bash"
    expect 0 "$gpt" --completion bash
    cp out script
    [ ! -s err ] || fail "stderr says $(head -n 1 err)"
    expect 0 "$gpt" --help
    cp out help
    replies_are "$(listed_options help)" ''
    replies_are "$(listed_options help)" --steps 5 ''
    replies_are "--nesterov --nesterov-form" --nest
    rules=$(sed -n '/^Optimizers/,$s/^  \([a-z][a-z0-9-]*\) .*/\1/p' help)
    for option in --optimizer --aux-optimizer --embed-optimizer --head-optimizer; do
        replies_are "$rules" $option ''
    done
    replies_are "normuon normuonh" --out runs/x --optimizer = norm
    replies_are "$rules" --optimizer =
    expect 0 "$gpt" --list-presets
    replies_are "$(sed 's/ .*//' out) (default)" --preset ''
    replies_are "auto cpu cuda" --device ''
    replies_are "auto fp32 tf32 bf16" --dtype ''
    replies_are "constant cosine linear wsd" --schedule ''
    replies_are "jordan" --ns j
    replies_are "auto" --batch-size ''
    replies_are "bash zsh fish" --completion ''
    replies_are "gpt2 gpt2-medium gpt2-large gpt2-xl (dirnames)" --model gpt
    replies_are "(default)" --text sto
    replies_are "(default)" --train sha
    replies_are "(dirnames)" --out ru
    replies_are "" --lr ''
    expect 2 "$gpt" --completion tcsh
    says "--completion knows no 'tcsh'; it is one of bash, zsh, fish" err
}
run_test "bash completes options, choices, rules and presets" completes

# Every option is in the script of each shell, with all that the shell has of it; and each shell can read its script.
other_shells() {
    expect 0 "$gpt" --help
    cp out help
    expect 0 "$gpt" --completion zsh
    cp out zsh.script
    expect 0 "$gpt" --completion fish
    cp out fish.script
    sed -n "s/^ *'\(--[a-z0-9-]*\)=\{0,1\}\[.*/\1/p" zsh.script | sort > zsh.options
    sed -n 's/^complete -c train_gpt -l \([a-z0-9-]*\) .*/--\1/p' fish.script | sort > fish.options
    listed_options help | sort > help.options
    same help.options zsh.options
    same help.options fish.options
    for shell in zsh fish; do
        says "muonh" $shell.script
        command -v $shell > "$work/null" || continue
        expect 0 $shell -n $shell.script
        [ ! -s err ] || fail "$shell says $(head -n 1 err)"
    done
}
run_test "zsh and fish get the same options" other_shells

has_manual() {
    expect 0 "$gpt" --help
    cp out help
    expect 0 "$gpt" --man
    cp out page
    [ "$(head -n 1 page | cut -c1-14)" = ".TH TRAIN_GPT " ] || fail "$(head -n 1 page)"
    command -v groff > "$work/null" || skip "there is no groff to read it with"
    expect 0 groff -man -Tutf8 -ww page
    [ ! -s err ] || fail "groff says $(head -n 1 err)"
    # plain text, its words one a line
    sed "s/$(printf '\033')\[[0-9;]*m//g; s/.$(printf '\b')//g" out > text
    for word in NAME SYNOPSIS OPTIONS OPTIMIZERS 'EXIT STATUS' EXAMPLES; do
        grep -q "^$word\$" text || fail "there is no section $word"
    done
    for each in text help; do
        tr A-Z a-z < $each | tr -cs "a-z0-9'-" '\n' | sort -u > $each.words
    done
    missing=$(comm -13 text.words help.words | tr '\n' ' ')
    [ -z "$missing" ] || fail "of --help the page lacks $missing"
}
run_test "the manual page says what --help does" has_manual

installs() {
    command -v make > "$work/null" || skip "there is no make"
    bin=$(dirname "$gpt")
    # with the programs as they are, however they were built
    (unset MAKEFLAGS MFLAGS MAKELEVEL
     expect 0 make -C "$root" install CUDA=no BIN="$bin" BUILD="$PWD/build" DESTDIR="$PWD/a place" PREFIX=/usr \
         -o "$bin/train_gpt" -o "$bin/train_gpt_cpu") || exit 1
    (cd "a place/usr" && find . -type f | sort) > installed
    bash=bash-completion/completions/train_gpt fish=fish/vendor_completions.d/train_gpt.fish
    zsh=zsh/site-functions/_train_gpt page=man/man1/train_gpt.1
    for file in bin/train_gpt bin/train_gpt_cpu share/$bash share/$fish share/$page share/$zsh; do
        echo "./$file"
    done > wanted
    same wanted installed
    share="a place/usr/share"
    for each in "--completion bash:$bash" "--completion zsh:$zsh" "--completion fish:$fish" "--man:$page"; do
        "a place/usr/bin/train_gpt" ${each%:*} > printed || fail "what was installed does not run"
        same printed "$share/${each#*:}"
        [ -z "$(find "$share/${each#*:}" -perm -100)" ] || fail "${each#*:} is executable"
    done
}
run_test "make install: programs, manual page, completion" installs
