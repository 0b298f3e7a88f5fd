#include "train/run_private.h"

#include "files/files.h"
#include "train/peak.h"

#include <math.h>
#include <stdlib.h>
#include <sys/utsname.h>

int record_write(const Run *r, Error *e)
{
    char path[PATH_MOST + 16], *text = NULL;
    size_t size = 0;
    struct utsname machine;
    FILE *to = open_memstream(&text, &size);
    if (to == NULL)
        return error_set(e, "out of memory");
    fprintf(to, "{\n  \"version\": \"%s\",\n  \"device\": ", TRAIN_GPT_VERSION);
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
        fprintf(to, f->choices == NULL ? "%s\"%s\": %s" : "%s\"%s\": \"%s\"", f == gpt_fields ? "" : ", ", f->key,
                value);
    }
    fprintf(to, "}");
    fprintf(to, ",\n  \"tokens_per_step\": %zu", r->plan->tokens_per_step);
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
    fprintf(to, "\n}\n");
    int status = fclose(to) != 0 || text == NULL ? error_set(e, "out of memory") : 0;
    snprintf(path, sizeof path, "%s/run.json", r->plan->out);
    if (status == 0)
        status = files_write_atomic(path, text, size, e);
    free(text);
    return status;
}

void record_banner(const Run *r)
{
    const Plan *p = r->plan;
    char model[256];
    gpt_describe(&p->config, model, sizeof model);
    printf("train_gpt %s on %s, %s\n", TRAIN_GPT_VERSION, gpt_device(), gpt_dtype_names[p->setup.dtype]);
    printf("model     %s: %s, %zu parameters\n", p->options.model, model, gpt_table(r->gpt)->parameters);
    printf("data      %s: %zu training tokens, %zu validation tokens\n", r->corpus.name,
           r->corpus.train != NULL ? tokens_total(r->corpus.train) : 0,
           r->corpus.val != NULL ? tokens_total(r->corpus.val) : 0);
    if (r->corpus.has_floor)
        printf("floor     %.4f +- %.4f nats per token: no model of these stories can do better\n", r->corpus.floor,
               r->corpus.floor_error);
    for (size_t i = 0; r->optim != NULL && i < optim_group_count(r->optim); i++) {
        const OptimGroupInfo info = optim_group_info(r->optim, i);
        printf("%-9s %-7s %-8s lr %-8.3g ", i == 0 ? "groups" : "", info.name, info.rule, hyper(&info.hyper, HYPER_LR));
        if (info.hyper.at[HYPER_WEIGHT_DECAY].set)
            printf("wd %-6.3g", hyper(&info.hyper, HYPER_WEIGHT_DECAY));
        else
            printf("%-9s", "no wd");
        printf(" %10zu parameters in %zu tensors\n", info.parameters, info.tensors);
    }
    if (r->optim != NULL)
        printf("step      %zu tokens: %zu x %zu sequences of %zu\n", p->tokens_per_step, p->micro_batches, p->setup.B,
               p->setup.T);
    const double peak = peak_flops(gpt_device_name(), p->setup.dtype);
    if (peak > 0)
        printf("peak      %.0f TFLOP/s in %s\n", peak * 1e-12, gpt_dtype_names[p->setup.dtype]);
    else if (gpt_device_name() != NULL)
        printf("peak      unknown, so no MFU is shown\n");
    printf("memory    %.2f GiB needed, %.1f available\n", (double)p->memory_needed / 0x1p30,
           (double)p->memory_present / 0x1p30);
    if (r->optim != NULL)
        printf("run       %s%s\n", p->out, p->options.resume ? " (resumed)" : "");
    printf("\n");
    fflush(stdout);
}

void record_summary(const Run *r)
{
    const CheckpointState *s = &r->state;
    printf("\ndone      %zu steps, %llu tokens, %.1f s of training\n", s->step, (unsigned long long)s->tokens,
           s->seconds);
    if (!isnan(s->val_loss))
        printf("val loss  %.4f", s->val_loss);
    if (!isnan(s->val_loss) && r->corpus.has_floor)
        printf(", %.4f above the floor %.4f +- %.4f", s->val_loss - r->corpus.floor, r->corpus.floor,
               r->corpus.floor_error);
    printf("%ssaved     %s/step_%06zu\n", isnan(s->val_loss) ? "" : "\n", r->plan->out, s->step);
}
