#include "train/schedule.h"

#include <math.h>

const char *const schedule_names[SCHEDULE_COUNT + 1] = {"constant", "cosine", "linear", "wsd", NULL};

double schedule_factor(const Schedule *s, size_t t)
{
    const double pi = 3.141592653589793;
    if (t < s->warmup)
        return (double)(t + 1) / (double)s->warmup;
    const size_t planned = s->planned > 0 ? s->planned : s->steps;
    const double steps = (double)planned, power = s->power > 0 ? s->power : 1;
    const double r = planned > s->warmup ? (double)(t - s->warmup) / (double)(planned - s->warmup) : 0;
    const double left = steps - (double)t, decay_steps = s->cooldown * steps;
    switch (s->kind) {
    case SCHEDULE_COSINE:
        return s->final + 0.5 * (1 + cos(pi * r)) * (1 - s->final);
    case SCHEDULE_LINEAR:
        return 1 - r * (1 - s->final);
    case SCHEDULE_WSD:
        return left < decay_steps ? s->final + (1 - s->final) * pow(left / decay_steps, power) : 1;
    default:
        return 1;
    }
}
