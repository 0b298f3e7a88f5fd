#!/bin/sh
# ratios.sh NUMBERS: the GPU targets next to what a run measured; "unmeasured" where it did not. NUMBERS: lines of a
# name and a value, as bench --numbers and bench_torch.py --numbers append them; the last line of a name counts. A
# value that is not a positive number counts as not measured.
awk '
{ value[$1] = $2 ~ /^[0-9.]+(e[-+]?[0-9]+)?$/ ? $2 + 0 : 0 }
function ratio(a, b) { return value[a] > 0 && value[b] > 0 ? value[a] / value[b] : 0 }
function must(what, have, at_least, want) {
    printf "%-62s ", what
    if (have > 0)
        printf "%10.3f %s %.2f  %s\n", have, at_least ? ">=" : "<=", want, \
            (at_least ? have >= want : have <= want) ? "ok" : "MISSED"
    else
        printf "%10s %s %.2f\n", "unmeasured", at_least ? ">=" : "<=", want
}
END {
    for (name in value)
        if (name ~ /^of_copy\// && (worst == "" || value[name] < value[worst]))
            worst = name
    kernel = worst == "" ? "" : " (" substr(worst, 9) ")"
    gsub("_", " ", kernel)
    same = value["adamw/batch"] == value["torch/batch"] ? "adamw" : "same_batch"
    printf "%-62s %10s\n", "The targets", "measured"
    must("slowest elementwise kernel" kernel ", of the copy", worst == "" ? 0 : value[worst], 1, 0.8)
    forward = ratio("torch/flash_forward_us", "us/flash_forward")
    backward = ratio("torch/flash_backward_us", "us/flash_backward")
    must("attention forward, speed over PyTorch\047s flash", forward, 1, 0.9)
    must("attention backward, speed over PyTorch\047s flash", backward, 1, 0.9)
    must("tokens/s with AdamW over torch.compile", ratio("adamw/tokens_per_second", "torch/tokens_per_second"), 1, 1.15)
    must("memory with AdamW over PyTorch, at its micro-batch", ratio(same "/bytes", "torch/bytes"), 0, 1)
    must("update with Muon, of a step", value["muon/update_share"], 0, 0.01)
}' "$1"
