# machine.sh: what the machine lends: threads and how they wait, quotas of control groups, memory, another CPU.

waits() {
    unset OMP_WAIT_POLICY GOMP_SPINCOUNT
    OMP_DISPLAY_ENV=verbose expect 0 "$gpt" --device cpu --version
    grep -q GOMP_SPINCOUNT err || skip "not GCC's OpenMP"
    says "GOMP_SPINCOUNT = '300'" err
    GOMP_SPINCOUNT=77 OMP_DISPLAY_ENV=verbose expect 0 "$gpt" --device cpu --version
    says "GOMP_SPINCOUNT = '77'" err
    OMP_WAIT_POLICY=active OMP_DISPLAY_ENV=verbose expect 0 "$gpt" --device cpu --version
    grep -q "GOMP_SPINCOUNT = '300'" err && fail "OMP_WAIT_POLICY is not honoured"
    return 0
}
run_test "threads wait briefly, unless the environment says how" waits

# OpenBLAS's own threads cannot be started there, and the program used to wait for them when it ended.
cramped() {
    command -v timeout > /dev/null || skip "there is no timeout"
    # shellcheck disable=SC3045 # where ulimit has -v
    (ulimit -v 150000 && exec timeout -s KILL 20 "$gpt" --device cpu --version) > out 2> err
    case $? in
    0) ;;
    137) fail "it hangs" ;;
    *) skip "$(head -n 1 err)" ;; # a sanitizer's
    esac
}
run_test "in little memory it ends all the same" cramped
