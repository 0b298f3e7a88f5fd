#include "train/run_private.h"

#include "base/text.h"
#include "files/json_file.h"
#include "train/peak.h"
#include "train/version.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* Of all groups. */
static double update_flops(const Optim *optim)
{
    double flops = 0;
    for (size_t i = 0; i < optim_group_count(optim); i++)
        flops += optim_group_info(optim, i).flops;
    return flops;
}

/* Forward and backward passes in a step, on average over the run: some rules want a second gradient. */
static double passes_per_step(const Optim *optim, size_t steps)
{
    size_t more = 0;
    for (size_t step = 1; step <= steps; step++)
        more += (size_t)optim_wants_previous(optim, step) + (size_t)optim_wants_drawn(optim, step);
    return steps > 0 ? 1 + (double)more / (double)steps : 1;
}

int record_write(const Run *r, Error *e)
{
    char path[PATH_MOST + 16], *text = NULL;
    size_t size = 0;
    struct utsname machine;
    FILE *to = open_memstream(&text, &size);
    if (to == NULL)
        return error_set(e, "out of memory");
    fprintf(to,
            "{\n  \"version\": \"%s\", \"source\": \"%s\", \"program\": \"%s\",\n  \"compiler\": ", TRAIN_GPT_VERSION,
            train_gpt_source, train_gpt_program());
    json_write_string(to, train_gpt_compiler);
    fprintf(to, ",\n  \"device\": ");
    json_write_string(to, gpt_device());
    fprintf(to, ", \"dtype\": \"%s\"", gpt_dtype_names[r->plan->setup.dtype]);
    if (uname(&machine) == 0) {
        fprintf(to, ",\n  \"machine\": ");
        json_write_string(to, machine.machine);
        fprintf(to, ",\n  \"system\": ");
        json_write_string(to, machine.sysname);
    }
    fprintf(to, ",\n  \"parameters\": %zu,\n  \"model\": {", gpt_table(r->gpt)->parameters);
    for (const GptField *f = gpt_fields; f < gpt_fields + GPT_FIELDS; f++) {
        char value[64];
        gpt_field_format(f, &r->plan->config, true, value, sizeof value);
        fprintf(to, f->kind != GPT_CHOICE ? "%s\"%s\": %s" : "%s\"%s\": \"%s\"", f == gpt_fields ? "" : ", ", f->key,
                value);
    }
    fprintf(to, "}");
    fprintf(to, ",\n  \"tokens_per_step\": %zu, \"batch_size\": %zu, \"sequence_length\": %zu, \"ranks\": %zu",
            r->plan->tokens_per_step, r->plan->setup.B, r->plan->setup.T, r->plan->ranks.world);
    fprintf(to, ",\n  \"flops_per_token\": %.9g, \"passes_per_step\": %.9g, \"update_flops\": %.9g",
            gpt_flops_per_token(&r->plan->config, r->plan->setup.T),
            passes_per_step(r->optim, r->plan->options.schedule.steps), update_flops(r->optim));
    fprintf(to, ",\n  \"data\": %s", r->data);
    if (r->corpus.has_floor)
        fprintf(to, ",\n  \"floor\": %.9g, \"floor_standard_error\": %.3g", r->corpus.floor, r->corpus.floor_error);
    fprintf(to, ",\n  \"groups\": [");
    for (size_t i = 0; i < optim_group_count(r->optim); i++) {
        const OptimGroupInfo info = optim_group_info(r->optim, i);
        fprintf(to, "%s\n    {\"name\": \"%s\", \"rule\": \"%s\"", i == 0 ? "" : ",", info.name, info.rule);
        for (size_t id = 0; id < HYPER_COUNT; id++) {
            char value[64];
            if (!info.hyper.at[id].set)
                continue;
            hyper_format((HyperId)id, info.hyper.at[id].value, value, sizeof value);
            fprintf(to, ", \"%s\": \"%s\"", hyper_info[id].name, value);
        }
        fprintf(to, "}");
    }
    fprintf(to, "\n  ],\n  \"options\": ");
    options_write(&r->plan->options, to);
    fprintf(to, ",\n  \"command\": ");
    options_write_command(&r->plan->options, to);
    fprintf(to, "\n}\n");
    int status = fclose(to) != 0 || text == NULL ? error_set(e, "out of memory") : 0;
    snprintf(path, sizeof path, "%s/run.json", r->out);
    if (status == 0)
        status = json_file_write_sealed(path, text, size, e);
    free(text);
    return status;
}

/* Prints a line of the banner: its label in 10 columns, then the text, as printable characters. On a terminal it is
 * broken between words to fit. */
__attribute__((format(printf, 2, 3))) static void banner_line(const char *label, const char *format, ...)
{
    char raw[2048], text[4096];
    const size_t columns = progress_columns(stdout);
    va_list args;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_show(text, sizeof text, raw);
    printf("%-9s ", label);
    size_t at = 10;
    for (const char *word = text; *word != '\0';) {
        const size_t blanks = strspn(word, " "), length = strcspn(word + blanks, " ");
        const bool breaks = columns > 10 && at > 10 && at + blanks + length > columns;
        printf(breaks ? "\n%10s%.*s" : "%s%.*s", "", (int)(breaks ? length : blanks + length),
               breaks ? word + blanks : word);
        at = breaks ? 10 + length : at + blanks + length;
        word += blanks + length;
    }
    printf("\n");
}

static void banner_groups(const Optim *optim)
{
    for (size_t i = 0; optim != NULL && i < optim_group_count(optim); i++) {
        const OptimGroupInfo info = optim_group_info(optim, i);
        char decay[32] = "no wd";
        if (info.hyper.at[HYPER_WEIGHT_DECAY].set)
            snprintf(decay, sizeof decay, "wd %.3g", hyper(&info.hyper, HYPER_WEIGHT_DECAY));
        banner_line(i == 0 ? "groups" : "", "%-7s %-8s lr %-8.3g %-8s %10zu in %zu tensors", info.name, info.rule,
                    hyper(&info.hyper, HYPER_LR), decay, info.parameters, info.tensors);
    }
}

static void banner_memory(const Plan *p)
{
    const double needed = (double)p->memory_needed;
    banner_line("memory", "%.*f %s needed, %.1f GiB available", needed < 0x1p30 ? 0 : 2,
                needed < 0x1p30 ? needed / 0x1p20 : needed / 0x1p30, needed < 0x1p30 ? "MiB" : "GiB",
                (double)p->memory_present / 0x1p30);
}

/* n bytes in the unit that suits them. */
static const char *bytes(char *text, size_t size, double n)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB"};
    size_t unit = 0;
    for (; n >= 999.5 && unit < 3; unit++)
        n /= 1000;
    snprintf(text, size, "%.3g %s", n, units[unit]);
    return text;
}

/* Whether a step's bits are those of one rank: its blocks are a tree's, and the ranks have equal branches of it. */
static bool has_same_bits(const Plan *p)
{
    const size_t world = p->ranks.world;
    return (world & (world - 1)) == 0 && world <= p->options.same_bits && !p->batch_by_memory;
}

static void banner_ranks(const Run *r)
{
    const Plan *p = r->plan;
    const size_t world = p->ranks.world, here = comm_neighbours(r->comm).count;
    char sent[32], state[32];
    banner_line("ranks", "%zu, of which %zu on this machine%s", world, here,
                !p->trains           ? ""
                : has_same_bits(p)   ? "; the same bits as 1 rank computes"
                : p->batch_by_memory ? "; other bits than 1 rank's, whose memory may give another --batch-size"
                : world <= p->options.same_bits
                    ? "; sums are rounded otherwise than 1 rank's: their number is no power of two"
                    : "; sums are rounded otherwise than 1 rank's: they are more than --same-bits");
    if (p->trains)
        banner_line("", "each sends %s a step and has %s of the optimizer's state",
                    bytes(sent, sizeof sent, optim_bytes_sent(r->optim)),
                    bytes(state, sizeof state, (double)optim_memory(r->optim)));
}

void record_notes(Run *r)
{
    progress_break(&r->progress);
    for (size_t i = 0; i < r->notes.count; i++)
        banner_line("note", "%s", r->notes.lines[i].text);
    r->notes.count = 0;
    fflush(stdout);
}

void record_banner(Run *r)
{
    const Plan *p = r->plan;
    const Corpus *corpus = &r->corpus;
    const double peak = peak_flops(gpt_device_name(), p->setup.dtype);
    char model[256];
    gpt_describe(&p->config, model, sizeof model);
    banner_line("train_gpt", "%s (%s)", TRAIN_GPT_VERSION, train_gpt_source);
    banner_line("device", "%s, %s", gpt_device(), gpt_dtype_names[p->setup.dtype]);
    if (p->weights != NULL)
        banner_line("model", "from %s: %s, %zu parameters", p->weights, model, gpt_table(r->gpt)->parameters);
    else
        banner_line("model", "%s from scratch: %s, %zu parameters", p->options.model, model,
                    gpt_table(r->gpt)->parameters);
    if (p->trains || corpus->val != NULL)
        banner_line("data", "%s: %zu tokens to train on, %zu held out", corpus->name,
                    corpus->train != NULL ? tokens_total(corpus->train) : 0,
                    corpus->val != NULL ? tokens_total(corpus->val) : 0);
    if (corpus->has_floor)
        banner_line("floor", "%.4f +- %.4f nats per token, the least that any model can reach", corpus->floor,
                    corpus->floor_error);
    banner_groups(r->optim);
    if (r->optim != NULL)
        banner_line("step", "%zu tokens: %zu x %zu sequences of %zu", p->tokens_per_step, p->micro_batches, p->setup.B,
                    p->setup.T);
    if (r->optim != NULL && p->options.first_batch > 0)
        banner_line("", "from %zu tokens, growing over %zu steps", p->options.first_batch, p->options.batch_growth);
    if (r->comm != NULL)
        banner_ranks(r);
    if (peak > 0)
        banner_line("peak", "%.0f TFLOP/s in %s", peak * 1e-12, gpt_dtype_names[p->setup.dtype]);
    else if (gpt_device_name() != NULL)
        banner_line("peak", "unknown, so no MFU is shown");
    banner_memory(p);
    if (r->optim != NULL)
        banner_line("run", "%s%s", r->out, p->options.resume ? " (resumed)" : "");
    r->progress.to = stdout;
    record_notes(r);
    printf("\n");
    fflush(stdout);
}

void record_summary(const Run *r)
{
    const CheckpointState *s = &r->state;
    printf("\ndone      %zu steps, %llu tokens, %.1f s of training\n", s->step, (unsigned long long)s->tokens,
           s->seconds);
    if (!isnan(s->val_loss)) {
        printf("val loss  %.4f", s->val_loss);
        if (r->corpus.has_floor)
            printf(", %.4f above the floor %.4f +- %.4f", s->val_loss - r->corpus.floor, r->corpus.floor,
                   r->corpus.floor_error);
        printf("\n");
    }
    if (r->qk_clip != NULL) {
        const QkClipSum sum = qk_clip_sum(r->qk_clip);
        printf("qk-clip   %zu of %zu heads were clipped%s, %zu times in all\n", sum.heads,
               r->plan->config.L * r->plan->config.NH, r->plan->options.resume ? " since it was resumed" : "",
               sum.times);
    }
    if (r->comm != NULL) {
        char text[32];
        double means[2] = {(double)r->sent, r->stepped > 0 ? r->waited / r->stepped : 0};
        comm_sum(r->comm, means, 2);
        printf("ranks     each sent %s in the last step and waited %.1f%% of the time\n",
               bytes(text, sizeof text, means[0] / (double)r->plan->ranks.world),
               100 * means[1] / (double)r->plan->ranks.world);
    }
    printf("saved     %s/step_%06zu\n", r->out, s->step);
}
