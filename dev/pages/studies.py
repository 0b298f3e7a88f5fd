"""The numbers of dev/studies/README.md."""

import math
import re
import statistics
from pathlib import Path

from experiments import inference

from .page import Page, losses_of, read
from .versus import Versus

HERE = Path(__file__).resolve().parent.parent / "studies"
HIDDEN = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def gradients(page):
    rows = [r for r in read(HERE / "gradients/results/moments.csv") if r["tensor"] in HIDDEN]
    last = max(int(r["step"]) for r in rows)

    def of(column, first, end):
        return [float(r[column]) for r in rows if first <= int(r["step"]) <= end]

    page.given("table 6.1")
    page.given("While the rate is constant, from step 240 to 540,", "(1 + 0.9) / (1 - 0.9) = 19", "(1 + 0.95) / (1 - 0.95) = 39")
    page.say("the cosine of m with the gradient is {:.2f} on average, between {:.2f} and {:.2f}",
             statistics.fmean(of("cosine", 240, 540)), min(of("cosine", 240, 540)), max(of("cosine", 240, 540)),
             holds=statistics.fmean(of("cosine", 240, 540)) < 0)
    page.say("the mean of 19 fresh batches has {:.2f}", statistics.fmean(of("cosine_ideal", 240, 540)))
    page.say("it is {:.2f}, of {:.2f} that fresh batches have", statistics.fmean(of("cosine", last, last)),
             statistics.fmean(of("cosine_ideal", last, last)))
    page.say("v over the second moment is {:.2f} in the median over steps and matrices, from {:.2f} to {:.2f}",
             statistics.median(of("second", 240, last)), min(of("second", 240, last)), max(of("second", 240, last)))
    page.say("it is far above ({:.0f} in the median in step 60)", statistics.median(of("second", 60, 60)))
    page.say("{:.2f} nats an element in the median where fresh batches leave {:.2f}", statistics.median(of("kl", 240, 540)),
             statistics.median(of("kl_ideal", 240, 540)))
    page.say("and {:.3f} of {:.3f} at the end", statistics.median(of("kl", last, last)), statistics.median(of("kl_ideal", last, last)))
    page.say("of at most {} of the elements", max(of("negative", 0, last)))
    for step, phrase in ((480, "In step 480 one batch gives {:.0f}% of the signs and 64 give {:.0f}%"),
                         (last, "at the end {:.0f}% and {:.0f}%")):
        page.say(phrase, *(100 * statistics.fmean(of(f"signs_{n}", step, step)) for n in (1, 64)))


def rare(page):
    rows = read(HERE / "rare/results/rare.csv")
    classes = {(r["rule"], int(r["from"])): {k: float(r[k]) for k in ("targets", "loss", "above", "low", "high")} for r in rows}
    froms = sorted({at for _, at in classes})

    def whole(rule):
        mine = [classes[rule, at] for at in froms]
        return sum(c["targets"] * c["loss"] for c in mine) / sum(c["targets"] for c in mine)

    def above(rule, first, end):
        return [classes[rule, at]["above"] for at in froms if first <= at < end]

    page.say("AdamW ends at {:.3f} nats a token, SGD at {:.3f}, Muon with AdamW for tables and vectors at {:.3f}, with SGD for them at {:.3f}",
             *map(whole, ("adamw", "sgd", "muon", "muon-sgd")), holds=whole("muon") < whole("adamw") < whole("sgd"))
    page.say("SGD lies {:.2f} to {:.2f} above AdamW where a token occurs 128 to 1,023 times in the text, and {:.2f} for the two most frequent",
             min(above("sgd", 128, 1024)), max(above("sgd", 128, 1024)), above("sgd", froms[-1], froms[-1] + 1)[0])
    page.say("where it occurs up to 15 times AdamW has {:.1f} to {:.1f} nats, SGD {:.1f} to {:.1f}",
             *(f(classes[rule, at]["loss"] for at in froms if at < 16) for rule in ("adamw", "sgd") for f in (min, max)))
    frequent = above("muon", 64, 1e9)
    page.say("Muon is below AdamW wherever a token occurs 64 times or more, by {:.2f} to {:.2f}", -max(frequent), -min(frequent),
             holds=max(frequent) < 0)
    page.say("keeps at least {:.0f}% of that from 1,024 occurrences on", 100 * min(
        classes["muon-sgd", at]["above"] / classes["muon", at]["above"] for at in froms if at >= 1024))
    page.say("{:.2f}, +{:.2f} and {:.2f}, from 128 to 1,023", *above("muon-sgd", 128, 1024))
    page.expect(all(classes["sgd", at]["low"] < 0 < classes["sgd", at]["high"] for at in froms if at >= 2048),
                "SGD and AdamW cannot be told apart from 2,048 occurrences on")
    page.say("Few are to be predicted: {:.0f} of {:.1f}M", sum(classes["adamw", at]["targets"] for at in froms if at < 16),
             sum(classes["adamw", at]["targets"] for at in froms) / 1e6)
    page.say("up to 63 occurrences its losses are within {:.2f} of SGD's",
             max(abs(classes["muon-sgd", at]["loss"] - classes["sgd", at]["loss"]) for at in froms if at < 64))
    page.given("ln 4,096 = 8.3")


PUBLISHED = {"adamw": 21.87, "no-correction": 21.93, "no-zero-init": 22.83, "neither": 22.64}  # perplexity
VARIANTS = {"adamw": "zeros, corrected (AdamW)", "no-correction": "zeros, not corrected",
            "no-zero-init": "first gradient, corrected", "neither": "first gradient, not corrected"}


def moments(page):
    rows = {r["label"]: r for r in read(HERE / "moments/results/compare.csv")}

    def signed(value):
        return f"{float(value):+.4f}"

    page.table("moments", ["moments begin as", "notes: perplexity", "nats above AdamW's", "here: nats a byte", "above AdamW's, 95%", "p, Holm"],
               [[words, f"{PUBLISHED[name]:.2f}", signed(math.log(PUBLISHED[name] / PUBLISHED["adamw"])) if name != "adamw" else "",
                 f"{float(rows[name]['mean']):.4f}",
                 f"{signed(rows[name]['difference'])} ({signed(rows[name]['difference_low'])} to {signed(rows[name]['difference_high'])})"
                 if rows[name]["difference"] else "", f"{float(rows[name]['p_holm']):.2g}" if rows[name]["p_holm"] else ""]
                for name, words in VARIANTS.items()])
    losses = {name: losses_of(rows[name]) for name in VARIANTS}
    high = statistics.median(losses["adamw"].values()) + 0.1
    page.given("Table 6.1", "0.04 to 0.15 between them", "the notes' betas (0.95, 0.95)", "the rate is 0.004",
               "more than 0.1 above AdamW's median")
    page.say("{} of its 8 seeds, {} without correction, {} and {} of those from the first gradient",
             *(sum(x > high for x in losses[name].values()) for name in VARIANTS))
    page.say("{} and {} runs diverged", int(rows["no-correction"]["diverged"]), int(rows["no-zero-init"]["diverged"]),
             holds=rows["adamw"]["diverged"] == rows["neither"]["diverged"] == "0")
    other = {r["label"]: r for r in read(HERE / "moments/results/compare-8e-3.csv")}
    page.given("the notebook, which prints 1.7467 on", "of 4,000 comparisons of the same losses paired anew 4.8%",
               "and in 90.0%, where the test's power is 90.9%")
    page.given("the notes' own rate, 0.008,", "A lower rate than 0.004")
    page.say("it is +{:.4f} ({:.4f} to +{:.4f}) without correction, +{:.4f} (+{:.4f} to +{:.4f}) and +{:.4f} (+{:.4f} to +{:.4f}) from the first gradient",
             *(float(other[n][f"difference{end}"]) for n in VARIANTS if n != "adamw" for end in ("", "_low", "_high")))
    page.say("with p by Holm of {:.3f}, {:.3f} and {:.3f}", *(float(other[n]["p_holm"]) for n in VARIANTS if n != "adamw"))
    page.say("and {}, {}, {} and {} of the eight seeds diverged", *(int(other[n]["diverged"]) for n in VARIANTS))
    rest = {name: [x - losses["adamw"][seed] for seed, x in losses[name].items() if x <= high] for name in VARIANTS}
    page.say("the others differ from AdamW's of the same seeds by {:.4f} and {:.4f} on average", *(statistics.fmean(rest[n]) for n in ("no-zero-init", "neither")))
    page.expect(all(float(rows[n]["difference_low"]) < 0 < float(rows[n]["difference_high"]) for n in VARIANTS if n != "adamw"),
                "no difference of means is significant")
    means = {name: float(rows[name]["mean"]) for name in VARIANTS}
    page.expect(sorted(means, key=means.get) == ["adamw", "no-correction", "no-zero-init", "neither"] and
                sorted(PUBLISHED, key=PUBLISHED.get) == ["adamw", "no-correction", "neither", "no-zero-init"],
                "the order of the notes but for its last step")
    page.given("at rates of 0.004 and 0.008")


def width(page):
    rows = read(HERE / "width/results/width.csv")
    slope = {r["rule"]: float(r["slope"]) for r in rows}
    best = {(r["rule"], int(r["size"])): float(r["best_rate"]) for r in rows}
    least = {(r["rule"], int(r["size"])): float(r["least_loss"]) for r in rows}
    still = ("muon-none", "muon-original", "muon-bernstein")
    page.given("hidden matrices' rates divided by how much wider they are than at 64 channels, and 0.002 for all else",
               "0.2 sqrt(max(fan-out, fan-in)) makes the step itself grow as C^0.5, so that C^-0.5 more", "tensors' 0.002 is too little")
    page.say("it falls as C^{:.2f}, C^{:.2f} and C^{:.2f}", *(slope[rule] for rule in still))
    page.expect(all(0.6 < best[rule, 256] / best[rule, 32] < 1 for rule in still), "by two fifths at most")
    page.say("Under Moonshot's scale it falls as C^{:.2f}", slope["muon-moonshot"])
    page.say("as C^{:.2f} by a straight line, from {:.3f} to {:.4f}", slope["adamw"], best["adamw", 32], best["adamw", 512])
    page.say("at first slowly and then fast ({:.3f}, {:.3f}, {:.3f}, {:.4f}, {:.4f}; at 512 channels no lower", *(best["adamw", C] for C in (32, 64, 128, 256, 512)))
    page.say("the one has become {:.0f} times, the other {:.0f} times smaller", *(best[rule, 32] / best[rule, 512] for rule in ("muon-original", "adamw")))
    page.say("At 512 channels Muon's, under the original's scale, is {:.3f} and AdamW's {:.4f}", best["muon-original", 512], best["adamw", 512],
             holds=best["adamw", 512] < best["adamw", 256] and best["muon-original", 512] < best["muon-original", 256])
    above = {size: least["adamw-modular", size] - least["adamw", size] for rule, size in least if rule == "adamw-modular"}
    page.say("With the sensitivities it stays: C^{:.2f}, and the losses at the best rates are then within {:.2f} of AdamW's",
             slope["adamw-modular"], max(above.values()), holds=min(above.values()) > 0 and max(above, key=above.get) == 32)
    slope = {r["rule"]: float(r["slope"]) for r in read(HERE / "width/results/depth.csv")}
    page.say("Muon's best rate falls as L^{:.2f} and AdamW's as L^{:.2f}", slope["muon-original"], slope["adamw"])


def best_of(path):
    """{rule: the knobs that a sweep found for it} of a best.csv, at the size that was searched."""
    return {r["optimizer"]: r["options"].split(" ", 2)[2].replace("--", "") for r in read(path) if r["size"] == "1"}


def rules(page):
    """The rules of the contest beside the speedrun's AdamW, of the same model, text, budget and seeds."""
    speedrun = Versus(*(HERE.parent / f"speedrun/results/{name}.csv" for name in ("compare", "sweep-8x", "sweep-seeds")))
    adamw, baseline = speedrun.losses["adamw", 960], speedrun.baseline
    losses = {r["label"]: losses_of(r) for r in read(HERE / "contest/results/rules.csv")}
    best = best_of(HERE / "contest/results/rules-best.csv")
    means = {name: statistics.fmean(mine.values()) for name, mine in losses.items()}
    order = sorted(losses, key=means.get)
    above = {name: inference.paired(losses[name], adamw) for name in order}
    p = dict(zip(order, inference.holm([above[name].p for name in order])))
    multiple = {name: inference.data_multiple(baseline, losses[name], 1966080) for name in order if above[name].value < 0}

    def cells(name):
        e, m = above[name], multiple.get(name)
        return [name, best[name], f"{means[name]:.4f}", f"{e.value:+.4f} ({e.low:+.4f} to {e.high:+.4f})", f"{p[name]:.1g}",
                f"{m.value:.2f} ({m.low:.2f} to {m.high:.2f})" if m else ""]

    page.table("rules", ["rule", "found", "nats a byte", "minus AdamW's, 95%", "p, Holm", "AdamW's data for its loss"], map(cells, order))
    five, after = order[:5], order[5]
    values = {name: above[name].value for name in order}
    page.given("falls over the last 0.6 of the run", "The floor of the text is 0.104", "the speedrun's, at 0.008, decay 0.2, cooldown 0.4",
               "(at 0.008 and decay 0.1 it")
    warm = {r["point"]: float(r["val_loss"]) for r in read(HERE.parent / "speedrun/results/sweep.csv")
            if (r["stage"], r["optimizer"], r["size"]) == ("search", "adamw", "1")}
    page.say("ends at {:.4f} with the same three seeds, {:.3f} below", statistics.fmean(adamw[s] for s in losses["adamw"]), values["adamw"])
    page.expect(all(max(losses["normuon"][s], losses["muon"][s]) < min(losses["soap"][s], losses["dion"][s]) and
                    max(losses["soap"][s], losses["dion"][s]) < losses["shampoo"][s] for s in losses["muon"]) and
                (apart := inference.paired(losses["normuon"], losses["muon"])).low < 0 < apart.high, "who is below whom with each seed")
    page.say("end within {:.3f} of each other and {:.2f} to {:.2f} below AdamW", max(means[n] for n in five) - min(means[n] for n in five),
             -max(values[n] for n in five), -min(values[n] for n in five), holds=means[after] - means[five[-1]] > 0.05)
    page.say("which would want {:.1f} to {:.1f} times the data", min(multiple[n].value for n in five), max(multiple[n].value for n in five))
    rows = [r for r in read(HERE / "contest/results/rules-sweep.csv") if r["stage"] == "search"]
    search = {r["point"]: float(r["val_loss"]) for r in rows if r["optimizer"] in ("adamw", "muon") and r["val_loss"]}
    page.say("it ended at {:.4f}, in the speedrun's search with 50 steps at {:.4f}", search["lr=0.008,weight-decay=0.1,beta2=0.95"],
             warm["lr=0.008,weight-decay=0.1,cooldown=0.6,beta2=0.95,warmup=50"])
    page.given("0.1 or 0.2, and these and SOAP a rate of 0.016")
    page.expect(all("aux-lr 0.016" in best[n] for n in ("muon", "normuon", "dion", "soap")) and "weight-decay 0.2" in best["muon"] and
                all("weight-decay 0.1" in best[n] for n in ("normuon", "dion")), "what was found for Muon, NorMuon, Dion and SOAP")
    by_decay = [(search[f"lr=0.02,aux-lr=0.016,weight-decay={wd:g}"], wd) for wd in (0, 0.05, 0.1, 0.2, 0.4)]
    page.say("{:.4f} without decay" + ", {:.4f} at {:g}" * 4, by_decay[0][0], *(x for pair in by_decay[1:] for x in pair))
    page.given("AdamH took 0.256 as the rate for the rest", "(0.512:")
    page.expect("aux-lr 0.256" in best["adamh"], "AdamH's rate for the rest")
    page.say("(0.512: {:.4f}, one seed)", next(float(r["val_loss"]) for r in rows if r["optimizer"] == "adamh" and "aux-lr=0.512" in r["point"]))
    whole = sorted(name for name in order if sum(r["optimizer"] == name for r in rows) < 12)
    page.expect(whole == ["shampoo", "soap"], "only Shampoo's and SOAP's searches ended by themselves")


def rules_on_documentation(page):
    """The rules that were searched there, beside AdamW and Muon, all with the same three seeds."""
    results = HERE / "contest/results"
    versus = Versus(results / "headliners.csv", results / "headliners-4x.csv", results / "rules-docs-sweep.csv")
    best = best_of(results / "headliners-best.csv")
    best |= {name: re.sub(r"cooldown \S+ ", "", found) for name, found in best_of(results / "rules-docs-best.csv").items()}
    budgets = versus.budgets_of("muon")
    losses = {key: {s: loss for s, loss in mine.items() if s in (1, 2, 3)} for key, mine in versus.losses.items()}
    mean = {key: statistics.fmean(mine.values()) for key, mine in losses.items()}
    order = sorted(best, key=lambda name: mean[name, 1920])
    above = {name: inference.paired(losses[name, 1920], losses["adamw", 1920]) for name in order if name != "adamw"}
    p = dict(zip(above, inference.holm([e.p for e in above.values()])))

    multiples = {(name, steps): inference.data_multiple(versus.baseline, losses[name, steps], versus.tokens[steps])
                 for name in above for steps in budgets if mean[name, steps] < mean["adamw", steps]}

    def multiple(key):
        m = multiples.get(key)
        return f"{m.value:.1f} ({m.low:.1f} to {m.high:.1f}){' *' if versus.beyond(key[1], m) else ''}" if m else ""

    def cells(name):
        e = above.get(name)
        return [name, best[name], *(f"{mean[name, steps]:.3f}" for steps in budgets),
                f"{e.value:+.3f} ({e.low:+.3f} to {e.high:+.3f})" if e else "", f"{p[name]:.1g}" if e else "",
                *(multiple((name, steps)) for steps in budgets)]

    page.table("rules-docs", ["rule", "found", *(f"{steps:,} steps" for steps in budgets), "minus AdamW's at 1,920, 95%", "p, Holm",
                              *(f"data, {steps:,}" for steps in budgets)], map(cells, order))
    five, rest = order[:5], order[5:]
    page.expect(set(five) == {"normuon", "muon", "soap", "dion", "shampoo"} and
                min(mean[n, 1920] for n in rest) - mean[five[-1], 1920] > 0.04, "the same five lead")
    wants = [multiples[n, 1920].value for n in five]

    def spread(steps):
        return max(mean[n, steps] for n in five) - min(mean[n, steps] for n in five)

    page.say("lie within {:.3f} of each other and {:.2f} to {:.2f} below AdamW, which wants {:.1f} to {:.1f} times the data", spread(1920),
             *sorted(-above[n].value for n in five)[::4], min(wants), max(wants))
    page.say("after 960 steps they lie within {:.3f} and after 3,840 within {:.3f}", spread(960), spread(3840), holds=spread(3840) < spread(960))

    def over(name, other):
        return [mean[name, steps] - mean[other, steps] for steps in budgets]

    def apart(name, other, steps):
        e = inference.paired(losses[name, steps], losses[other, steps])
        return e.value, e.low, e.high

    first, second, third = (apart("normuon", "muon", steps) for steps in budgets)
    page.say("is {:.4f} ({:.4f} to +{:.4f}) after 960 steps, {:.4f} ({:.4f} to {:.4f}) after 1,920 and +{:.4f} (+{:.4f} to +{:.4f}) after 3,840",
             *first, *second, *third, holds=first[1] < 0 < first[2] and second[2] < 0 < third[1])
    dion, soap = over("dion", "muon"), over("soap", "muon")
    page.say("they end {:.3f} and {:.3f} above Muon after 1,920 steps, {:.3f} and {:.3f} after 3,840", dion[1], soap[1], dion[2], soap[2],
             holds=dion == sorted(dion, reverse=True) and soap == sorted(soap, reverse=True) and
             all(apart(name, "muon", 3840)[1] < 0 for name in ("dion", "soap")))
    lion, sgd = over("lion", "adamw"), over("sgd", "adamw")
    page.say("Lion's is +{:.2f}, +{:.2f} and {:.3f} ({:.3f} to +{:.3f}: three seeds", *lion[:2], *apart("lion", "adamw", 3840), holds=lion[2] < 0)
    page.say("SGD's +{:.2f}, +{:.2f} and +{:.2f} (+{:.2f} to +{:.2f})", *sgd[:2], *apart("sgd", "adamw", 3840), holds=apart("sgd", "adamw", 3840)[1] > 0)
    page.say("end {:.2f} above Muon and {:.2f} above AdamW after 1,920 steps", over("muonh", "muon")[1], above["adamh"].value)
    rows = [r for r in read(results / "rules-docs-sweep.csv") if r["stage"] == "search"]
    rows += [r for r in read(results / "headliners-sweep.csv") if (r["stage"], r["size"]) == ("search", "1")]
    search = {(r["optimizer"], r["point"]): float(r["val_loss"]) for r in rows}

    def worth(name):
        """How much better the decay is that was found than none, the other knobs alike."""
        return max(without - min(x for (n, p), x in search.items() if n == name and without_decay(p) == without_decay(point))
                   for (n, point), without in search.items() if n == name and "weight-decay=0," in point)

    def without_decay(point):
        return re.sub("weight-decay=[^,]*", "", point)

    gains = [worth(n) for n in five]
    page.say("decay for the five that lead, {:.3f} to {:.3f} better than none", min(gains), max(gains))
    page.given("and 0.016 or 0.032 as the", "four of them took 0.016, Shampoo 0.004", "over the last 0.4 of the run for Lion and SGD, as for AdamW, 0.8")
    page.expect(all("aux-lr 0.016" in best[n] or "aux-lr 0.032" in best[n] for n in five), "the rate for the rest")
    warmups = {n: {p.split("warmup=")[1] for m, p in search if m == n} for n in best}
    page.expect(warmups["soap"] == warmups["shampoo"] == {"100"} and warmups["dion"] == {"25", "50"} and "warmup 800" in best["sgd"] and
                all(sum(m == n for m, _ in search) == 12 for n in best if n not in ("adamw", "muon")), "how far the searches went")


def headliners(page):
    versus = Versus(HERE / "contest/results/headliners.csv", HERE / "contest/results/headliners-4x.csv")
    versus.table(page, "headliners")
    versus.say_law(page)
    steps = versus.budgets
    gaps = [versus.mean("adamw", s).value - versus.mean("muon", s).value for s in steps]
    page.say("Muon ends {:.2f} to {:.2f} lower, at every budget", min(gaps), max(gaps), holds=min(gaps) > 0)
    page.say("it is at {:.4f} after 1,920 steps where AdamW is at {:.4f} after twice as many", versus.mean("muon", 1920).value,
             versus.mean("adamw", 3840).value, holds=versus.mean("muon", 1920).value < versus.mean("adamw", 3840).value)
    multiples = [versus.multiples[s].value for s in steps]
    page.say("AdamW wants {:.1f}, {:.1f} and {:.1f} times the data", *multiples, holds=multiples == sorted(multiples, reverse=True))
    page.expect([versus.beyond(s) for s in steps] == [False, False, True], "the last is beyond what was run")
    ours, theirs = versus.losses["muon", 3840], versus.losses["adamw", 7680]
    apart = inference.paired(ours, theirs)
    page.say("After 3,840 it is at {:.4f}, AdamW after 7,680 at {:.4f}", versus.mean("muon", 3840).value, versus.mean("adamw", 7680).value,
             holds=all(ours[s] < x for s, x in theirs.items()) and apart.low < 0 < apart.high)
    before = Versus(HERE / "contest/results/headliners.csv").law.loss(versus.tokens[7680])
    last = versus.mean("adamw", 7680)
    page.say("twice 1,920: {:.4f} ({:.4f} to {:.4f}), where the law through the other three had said {:.4f}", last.value, last.low, last.high, before,
             holds=last.low < before < last.high)

    def at_end(bound):
        """Muon's multiple after 3,840 steps where AdamW's mean after 7,680 is an end of its interval."""
        moved = versus.baseline | {versus.tokens[7680]: {s: x - last.value + bound for s, x in theirs.items()}}
        return inference.data_multiple(moved, versus.losses["muon", 3840], versus.tokens[3840]).value

    page.say("at its ends the last multiple would be {:.1f} and {:.1f}", *sorted(map(at_end, (last.low, last.high))))
    rows = [r for r in read(HERE / "contest/results/headliners-sweep.csv") if (r["stage"], r["size"]) == ("search", "1")]
    found = {r["optimizer"]: dict(pair.split("=") for pair in r["point"].split(",")) for r in sorted(rows, key=lambda r: -float(r["val_loss"]))}
    page.expect(list(found["adamw"].values()) == ["0.008", "0.1", "0.4", "0.95", "100"] and
                list(found["muon"].values()) == ["0.04", "0.032", "0.05", "0.8", "0.8", "50"], "what was found")
    page.given("AdamW at 0.008 with decay 0.1, beta2 0.95, cooldown 0.4", "Muon at 0.04 with AdamW's rate 0.032 for the rest, decay 0.05, momentum 0.8, cooldown 0.8")
    page.expect([sum(r["optimizer"] == name for r in rows) for name in ("adamw", "muon")] == [16, 24], "16 points and 24")

    def costs(rule):
        """{(knob, value): how much it costs to have this in the place of what was found}"""
        losses = {r["point"]: float(r["val_loss"]) for r in rows if r["optimizer"] == rule}
        least, best = min(losses.values()), found[rule]
        points = {point: dict(pair.split("=") for pair in point.split(",")) for point in losses}
        return {(knob, p[knob]): losses[point] - least for point, p in points.items() for knob in p
                if p[knob] != best[knob] and all(p[k] == best[k] for k in p if k != knob)}

    adamw = costs("adamw")
    muon = [float(r["val_loss"]) for r in rows if r["optimizer"] == "muon"]
    page.say("(0.016 in place of 0.008 costs {:.2f}) and too short a warmup (50 steps in place of 100 cost {:.2f})", adamw["lr", "0.016"], adamw["warmup", "50"])
    page.say("not its decay, cooldown and beta2, {:.2f} at most", max(cost for (knob, _), cost in adamw.items() if knob not in ("lr", "warmup")))
    page.say("all lie within {:.2f} of the best", math.ceil(100 * (max(muon) - min(muon))) / 100)
    page.given("(0.016 in place of 0.008", "at rates from 0.01 to 0.08 and AdamW's rates from 0.004 to 0.064")


IDEAS = {"linear-rate": "AdamW, rate falling to 0", "constant-rate": "AdamW, constant rate", "growing-eps": "constant rate, eps growing",
         "nested-adam": "average of normalised gradients", "adam-cpr": "norms bounded, no decay"}


def ideas(page):
    rows = {r["label"]: r for r in read(HERE / "adamw/results/compare.csv")}
    best = {r["optimizer"]: r["options"] for r in read(HERE / "adamw/results/best.csv")}
    shown = re.compile(r"--(lr|weight-decay|eps-max|cpr-warmup) (\S+)")

    def cells(name):
        r, found = rows[name], " ".join(f"{knob} {value}" for knob, value in shown.findall(best[name]))
        d = [f"{float(r[f'difference{end}']):+.4f}" for end in ("", "_low", "_high")] if r["difference"] else []
        return [IDEAS[name], found, f"{float(r['mean']):.4f}", f"{d[0]} ({d[1]} to {d[2]})" if d else "",
                f"{float(r['p_holm']):.2g}" if r["p_holm"] else ""]

    mean = {name: float(rows[name]["mean"]) for name in IDEAS}
    page.say("gains {:.2f} of the {:.2f} that a falling rate gains", mean["constant-rate"] - mean["growing-eps"], mean["constant-rate"] - mean["linear-rate"])
    page.say("from {:.4f} with a constant rate it comes to {:.4f}, a falling rate to {:.4f}", *(mean[n] for n in ("constant-rate", "growing-eps", "linear-rate")),
             holds=mean["linear-rate"] < mean["growing-eps"] < mean["constant-rate"])
    nested = [float(rows["nested-adam"][f"difference{end}"]) for end in ("", "_low", "_high")]
    page.say("no difference could be found, {:.4f} ({:.4f} to {:.4f})", *nested, holds=nested[1] < 0 < nested[2])
    page.given("from 1e-8 to eps-max")
    page.say("Bounds on norms cost {:.2f} here", mean["adam-cpr"] - mean["linear-rate"])
    page.table("adamw", ["", "found", "nats a byte", "above AdamW's with a falling rate, 95%", "p, Holm"], map(cells, IDEAS))


def batch(page):
    rows = {(r["rule"], int(r["batch"])): r for r in read(HERE / "batch/results/batch.csv")}
    batches, rules = sorted({b for _, b in rows}), ("adamw", "muon", "signsgd")

    def cells(rule):
        mine = [rows.get((rule, b)) for b in batches]
        law = next((r for r in mine if r and r["critical_batch"]), None)
        return [rule, *(f"{float(r['steps']):,.0f} ({r['rate']})" if r else "not met" for r in mine),
                f"{float(law['least_steps']):,.0f}" if law else "", f"{float(law['critical_batch']):,.0f}" if law else ""]

    page.table("batch", ["steps to 2.2, and the rate", *(f"{b:,} bytes a step" for b in batches), "least steps", "critical batch"],
               map(cells, rules))
    page.expect(not any(r["edge"] for r in rows.values()), "no best rate is an outermost one")
    critical = {rule: float(rows[rule, 2048]["critical_batch"]) for rule in ("adamw", "muon")}
    page.say("larger, {:.1f} thousand bytes to AdamW's {:.1f}", critical["muon"] / 1000, critical["adamw"] / 1000, holds=critical["muon"] > 1.5 * critical["adamw"])
    page.say("It needs {:.1f}, {:.1f}, {:.1f} and {:.1f} times fewer steps",
             *(float(rows["adamw", b]["steps"]) / float(rows["muon", b]["steps"]) for b in batches))
    page.say("AdamW already pays {:.2f} times as many", float(rows["adamw", 2048]["tokens"]) / float(rows["adamw", 512]["tokens"]),
             holds=abs(float(rows["muon", 2048]["tokens"]) / float(rows["muon", 512]["tokens"]) - 1) < 0.05)
    misfit = max(abs(math.log(float(r["least_steps"]) * (1 + float(r["critical_batch"]) / b) / float(r["steps"]))) for (_, b), r in rows.items())
    page.say("within {:.0f}% of every point", 100 * misfit)
    page.expect([rows["muon", b]["rate"] for b in batches] == ["0.01", "0.02", "0.04", "0.08"] and
                {rows["adamw", b]["rate"] for b in batches[1:]} == {"0.004"}, "the best rates")
    ends = {}
    for r in read(HERE / "batch/results/sweep.csv"):
        if r["optimizer"].startswith("signsgd") and r["val_loss"]:
            ends.setdefault(int(r["optimizer"].split("-")[1]), []).append(float(r["val_loss"]))
    page.say("it came to {:.2f}, {:.2f}, {:.2f} and {:.2f} at the best of five rates", *(min(ends[b]) for b in batches),
             holds=min(map(min, ends.values())) > 2.2 and all(len(mine) == 5 for mine in ends.values()))
    page.given("does a loss of 2.2 nats", "Steps and bytes to 2.2 nats", "from 0.01 to 0.08; AdamW's stays at 0.004")


DEFAULTS = {"adamw-was": "AdamW as it was: rate 0.001, decay 0.1", "adamw-cooldown": "cooldown 0.6", "adamw-is": "rate 0.002, as it is",
            "muon-was": "Muon as it was: rate 0.02, AdamW's 0.001", "muon-cooldown": "cooldown 0.6", "muon-decay": "decay 0.1",
            "muon-aux": "AdamW's rate 0.004", "muon-is": "decay 0.1 and AdamW's rate 0.002, as it is",
            "dion-was": "Dion as it was: rate 0.01, decay 0.01", "dion-is": "rate 0.02, decay 0.1, AdamW's rate 0.002, as it is"}


def defaults(page):
    losses = {}
    for r in read(HERE / "defaults/results/sweep.csv"):
        losses.setdefault(r["optimizer"], {})[int(r["seed"])] = float(r["val_loss"])

    def cells(name):
        was, mine = losses[f"{name.split('-')[0]}-was"], losses[name]
        above = statistics.fmean(mine[seed] - was[seed] for seed in mine)
        return [DEFAULTS[name], ", ".join(f"{mine[seed]:.4f}" for seed in sorted(mine)), f"{above:+.4f}" if mine != was else ""]

    page.table("defaults", ["", "nats a byte, two seeds", "difference"], map(cells, DEFAULTS))
    above = {rule: statistics.fmean(losses[f"{rule}-cooldown"][s] - x for s, x in losses[f"{rule}-was"].items()) for rule in ("adamw", "muon")}
    page.say("0.6 costs {:.2f} to {:.2f} here", *sorted(above.values()), holds=min(above.values()) > 0)
    for rule in ("adamw", "muon", "dion"):
        page.expect(all(losses[f"{rule}-is"][s] < x for s, x in losses[f"{rule}-was"].items()), f"{rule} as it is is better than as it was")
    best = {name: dict(zip(words[::2], words[1::2])) for name, found in best_of(HERE / "contest/results/rules-best.csv").items()
            if (words := found.replace("nesterov ", "").split())}
    page.expect(all(best[n]["weight-decay"] in ("0.1", "0.2") for n in ("muon", "normuon", "dion")), "decay of 0.1 or 0.2")
    page.expect(best["dion"]["lr"] == "0.02", "Dion's rate")
    found = {"muonh": 0.018, "adamh": 0.018, "sgd": 0.1, "soap": 3e-3, "shampoo": 1e-3}  # beside them, their defaults
    page.expect(all(2 < float(best[n]["lr"]) / lr <= 8 for n, lr in found.items()), "rates two to eight times as high")
    page.say("better by {:.2f} here, where AdamW", statistics.fmean(x - losses["adamw-is"][s] for s, x in losses["adamw-was"].items()))
    decay = inference.paired(losses["muon-decay"], losses["muon-was"])
    page.expect(decay.low < 0 < decay.high, "Muon gains too little to be told from chance")
    aux = inference.paired(losses["muon-aux"], losses["muon-is"])
    page.expect(aux.value < 0, "0.004 is better than 0.002 here")
    page.given("**AdamW's rate is 0.002** (it was PyTorch's 0.001", "take 0.010 to 0.014 at 32 to 128 channels and 0.0021 at 256", "at 0.0006 (nanoGPT",
               "at 0.0018 (modded-nanogpt's second", "decay by 0.1**", "found 0.1 or 0.2 for each of the three", "0.1 for Muon, that", "headliners-best.csv) 0.05",
               "at 3.464 with 0.1, at 3.532 without", "found, 0.02", "is its own, 0.002**", "0.004 and more is better", "took 0.016 and 0.032",
               "third record has 0.0018", "its fourth 0.0036", "stays 0.4 of the run**: 0.6", "took 0.4 for AdamW and, of longer runs, 0.6 and 0.8 for Muon",
               "Muon with 0.8 is better than with 0.4 (3.464, 3.482")


def numbers(check):
    page = Page(HERE / "README.md")
    rules(page)
    width(page)
    gradients(page)
    rare(page)
    moments(page)
    defaults(page)
    headliners(page)
    rules_on_documentation(page)
    ideas(page)
    batch(page)
    return page.finish(check)
