#include "data/stories.h"

#include "data/stories_observe.h"
#include "data/stories_tell.h"
#include "dev/tests/check.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool generate(uint64_t seed, size_t bytes, Stories *s)
{
    Error e = {""};
    return check(stories_generate(seed, bytes, s, &e) == 0, "stories_generate: %s", e.text);
}

/* --- derivations --- */

typedef struct Step {
    size_t offset, length, chosen;
    double nats; /* log(sum of weights / weight) */
} Step;

typedef struct Derivation {
    Step *steps;
    size_t count, capacity;
    double surprise, variance; /* sums of (nats - the choice's entropy), and of its variance, over the choices */
    size_t clashes;            /* pairs of options of which one is a prefix of the other */
} Derivation;

static bool is_prefix(const Choice *c, size_t i, size_t j)
{
    const Option *a = &c->options[i], *b = &c->options[j];
    return a->length <= b->length && memcmp(c->bytes + a->start, c->bytes + b->start, a->length) == 0;
}

static void record(void *context, const Choice *c, size_t chosen, size_t offset)
{
    Derivation *d = context;
    double sum = 0;
    for (size_t i = 0; i < c->count; i++) {
        sum += (double)c->options[i].weight;
        for (size_t j = 0; j < c->count; j++)
            d->clashes += i != j && is_prefix(c, i, j);
    }
    double entropy = 0, square = 0;
    for (size_t i = 0; i < c->count; i++) {
        const double p = (double)c->options[i].weight / sum;
        entropy -= p * log(p);
        square += p * log(p) * log(p);
    }
    d->surprise += log(sum / (double)c->options[chosen].weight) - entropy;
    d->variance += square - entropy * entropy;
    if (d->count == d->capacity) {
        d->capacity = d->capacity > 0 ? 2 * d->capacity : 1024;
        d->steps = realloc(d->steps, d->capacity * sizeof *d->steps);
        if (d->steps == NULL)
            abort();
    }
    const Option *o = &c->options[chosen];
    d->steps[d->count++] = (Step){offset, o->length, chosen, log(sum / (double)o->weight)};
}

/* Rounding of the float nats of a run of bytes that add to `nats`, each to half an ulp; and of log() in double. */
static double rounding(double nats) { return nats * 0x1p-24 + (nats + 1) * 0x1p-40; }

static void test_derivation(void)
{
    Derivation d = {0};
    Stories s;
    Error e = {""};
    if (!check(stories_generate_observed(11, 1000000, record, &d, &s, &e) == 0, "%s", e.text))
        return;
    check(d.clashes == 0, "%zu pairs of options are not prefix-free", d.clashes);
    double total = 0, byte_total = 0;
    size_t at = 0;
    for (size_t i = 0; i < d.count; i++) {
        const Step *step = &d.steps[i];
        double sum = 0;
        check(step->offset == at && step->length > 0, "step %zu stands at byte %zu, not %zu", i, step->offset, at);
        for (size_t j = 0; j < step->length; j++)
            sum += (double)s.nats[at++];
        check_close(sum, step->nats, rounding(step->nats), "nats of one choice");
        total += step->nats;
        byte_total += sum;
    }
    check(at == s.size, "the choices cover %zu of %zu bytes", at, s.size);
    check_close(byte_total, total, rounding(total), "nats of all choices");
    /* If options are drawn with the probabilities counted, the surprise is a martingale: about N(0, variance). */
    check_close(d.surprise, 0, 4 * sqrt(d.variance), "nats beyond the entropy of the choices");
    free(d.steps);
    stories_free(&s);
}

static bool same_derivation(const Derivation *a, const Derivation *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = a->steps[i].offset == b->steps[i].offset && a->steps[i].chosen == b->steps[i].chosen &&
               a->steps[i].length == b->steps[i].length;
    return same;
}

static void test_round_trip(void)
{
    Derivation made = {0}, read = {0};
    Stories a, b;
    Error e = {""};
    if (!check(stories_generate_observed(5, 300000, record, &made, &a, &e) == 0, "%s", e.text))
        return;
    if (check(stories_parse_observed(a.text, a.size, record, &read, &b, &e) == 0, "parse: %s", e.text)) {
        check(a.size == b.size && a.story_count == b.story_count, "%zu stories came back as %zu", a.story_count,
              b.story_count);
        check_same_bits(b.text, a.text, a.size, "text");
        check_same_bits(b.nats, a.nats, a.size * sizeof *a.nats, "nats");
        check_same_bits(b.story_start, a.story_start, a.story_count * sizeof *a.story_start, "story starts");
        check(same_derivation(&made, &read), "the derivation read is not the one made");
        stories_free(&b);
    }
    free(made.steps);
    free(read.steps);
    stories_free(&a);
}

/* --- the parser on other texts --- */

static void test_cut_anywhere(void)
{
    Stories a, b;
    if (!generate(3, 3000, &a))
        return;
    for (size_t size = 1; size <= a.size; size++) {
        Error e = {""};
        if (!check(stories_parse(a.text, size, &b, &e) == 0, "cut to %zu bytes: %s", size, e.text))
            continue;
        check(b.size == size && b.story_start[b.story_count - 1] < size, "cut to %zu bytes: wrong extent", size);
        check_same_bits(b.nats, a.nats, size * sizeof *a.nats, "nats of a cut text");
        stories_free(&b);
    }
    stories_free(&a);
}

static void check_refused(const char *text, size_t size, const char *sentence)
{
    Stories s;
    Error e = {""};
    if (check(stories_parse((const unsigned char *)text, size, &s, &e) == -1, "\"%s\" was accepted", text))
        check(strstr(e.text, sentence) != NULL, "\"%s\" gave: %s", text, e.text);
    else
        stories_free(&s);
}

static void test_refusals(void)
{
    check_refused("", 0, "byte 0: expected a story");
    check_refused("\0", 1, "byte 0: expected");
    check_refused("\n", 1, "byte 0: expected");
    check_refused("On a warm tuesday", 17, "byte 10: expected");
    check_refused("One day, Anna met Anna", 22, "byte 19: expected \"dam\" or \"lice\", found \"nna\"");
    check_refused("One day, Anna met Ben and Bem", 29, "byte 28: expected \"lla\", found \"m\"");
    check_refused("One day, Anna could not find his", 32, "byte 30: expected \"er \", found \"is\"");
    Stories s;
    Error e = {""};
    check(stories_generate(1, 0, &s, &e) == -1 && e.text[0] != '\0', "a corpus of 0 bytes was made");
    stories_free(&s);
}

/* Every byte of some stories, changed: rejected at the change or after it, or parsed as the new text. */
static void test_one_byte_changed(void)
{
    static const unsigned char others[] = {'a', 'n', ' ', '7', '.', 'T', 0, 255};
    Derivation made = {0};
    Stories a, b;
    Error e = {""};
    size_t accepted = 0, tried = 0;
    if (!generate(21, 1500, &a) ||
        !check(stories_parse_observed(a.text, a.size, record, &made, &b, &e) == 0, "parse: %s", e.text))
        return;
    stories_free(&b);
    for (size_t i = 0; i < a.size; i++) {
        for (size_t k = 0; k < sizeof others; k++) {
            const unsigned char byte = a.text[i];
            if (byte == others[k])
                continue;
            Derivation read = {0};
            size_t offset = 0;
            a.text[i] = others[k];
            tried++;
            if (stories_parse_observed(a.text, a.size, record, &read, &b, &e) == 0) {
                accepted++;
                check(!same_derivation(&made, &read), "byte %zu changed to %d is read as before", i, others[k]);
                check_same_bits(b.text, a.text, a.size, "an accepted text");
                stories_free(&b);
            } else {
                check(sscanf(e.text, "byte %zu: expected", &offset) == 1, "byte %zu changed: %s", i, e.text);
                check(offset >= i && offset < a.size, "byte %zu changed, but refused at %zu", i, offset);
            }
            free(read.steps);
            a.text[i] = byte;
        }
    }
    check(accepted < tried / 100, "%zu of %zu changes made another story", accepted, tried);
    free(made.steps);
    stories_free(&a);
}

/* Overwrites, copies and cuts at random: the parser may refuse or accept, but not fall over. */
static void test_mutations(void)
{
    Random random = random_make(77, 0);
    Stories a, b;
    if (!generate(8, 4000, &a))
        return;
    unsigned char *text = malloc(a.size);
    size_t refused = 0;
    const size_t rounds = 2000;
    for (size_t round = 0; text != NULL && round < rounds; round++) {
        memcpy(text, a.text, a.size);
        const size_t size = 1 + (size_t)random_below(&random, a.size);
        const size_t length = (size_t)random_below(&random, 40);
        const size_t from = (size_t)random_below(&random, a.size - length), to = (size_t)random_below(&random, size);
        memmove(text + to, a.text + from, to + length <= a.size ? length : a.size - to);
        text[random_below(&random, a.size)] = (unsigned char)random_below(&random, 256);
        Error e = {""};
        const int result = stories_parse(text, size, &b, &e);
        refused += result != 0;
        if (result == 0)
            stories_free(&b);
        else
            check(strncmp(e.text, "byte ", 5) == 0 && b.text == NULL, "a refusal without its offset: %s", e.text);
    }
    check(refused > rounds / 2, "only %zu of %zu mutated texts were refused", refused, rounds);
    free(text);
    stories_free(&a);
}

/* --- patterns --- */

/* Tells one pattern with a scribe of its own; the text goes to *text (of 256 bytes). */
static ScribeStatus tell_alone(const char *pattern, char *text, Error *e)
{
    Scribe *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->e = e;
    s->random = random_make(4, 0);
    tell(s, pattern);
    snprintf(text, 256, "%.*s", (int)s->size, s->size > 0 ? (const char *)s->text : "");
    const ScribeStatus status = s->status;
    free(s->text);
    free(s->nats);
    free(s);
    return status;
}

static void check_fault(const char *pattern, const char *sentence)
{
    Error e = {""};
    char text[256];
    check(tell_alone(pattern, text, &e) == FAILED && strstr(e.text, sentence) != NULL, "%s gave \"%s\", %s", pattern,
          text, e.text);
}

static void test_patterns(void)
{
    Error e = {""};
    char text[256];
    check(tell_alone("{x=apple|pear} {x a}", text, &e) == GOING, "%s", e.text);
    check(strcmp(text, "apple an apple") == 0 || strcmp(text, "pear a pear") == 0, "\"%s\"", text);
    check(tell_alone("[3*{n=7..7 times}, {n}!]", text, &e) == GOING, "%s", e.text);
    check(strcmp(text, "7 times, 7!") == 0, "\"%s\"", text);
    check(tell_alone("a[b[c|d]|e]f", text, &e) == GOING, "%s", e.text);
    check(strcmp(text, "abcf") == 0 || strcmp(text, "abdf") == 0 || strcmp(text, "aef") == 0, "\"%s\"", text);
    check_fault("[0*never|ever]", "weight 0");
    check_fault("[a|[b|c]]", "not prefix-free");
    check_fault("[a|ab]", "not prefix-free");
    check_fault("[same|same]", "not prefix-free");
    check_fault("[very |]", "not prefix-free");
    check_fault("{x}", "nothing in this slot");
    check_fault("{x=no such list}", "no such word list");
    check_fault("{n=3..2 apples}", "no options");
    check_fault("{x=one|two} {x his}", "no such form");
}

/* --- what the stories say --- */

static bool cut_story(const Stories *s, size_t i, char *text, size_t capacity)
{
    const size_t end = i + 1 < s->story_count ? s->story_start[i + 1] : s->size;
    const size_t length = end - s->story_start[i];
    if (!check(length < capacity, "a story of %zu bytes", length))
        return false;
    memcpy(text, s->text + s->story_start[i], length);
    text[length] = '\0';
    return true;
}

enum { STORY_MAX = 4096, WORDS_MAX = 800 };

/* Cuts a story into words without punctuation, in place. */
static size_t split_words(char *text, char **words)
{
    size_t n = 0;
    for (char *word = strtok(text, " \n.,;:!?\""); word != NULL && n < WORDS_MAX; word = strtok(NULL, " \n.,;:!?\""))
        words[n++] = word;
    for (size_t i = n; i < WORDS_MAX; i++)
        words[i] = text + strlen(text); /* an empty word: the scans below may look a few words ahead */
    return n;
}

static bool is_number(const char *word) { return isdigit((unsigned char)word[0]) != 0; }

/* Follows two people's hoards through a story of plot_count. Returns how many sums were checked. */
static size_t follow_hoards(char **w, size_t n)
{
    const char *name[2] = {NULL, NULL};
    long hoard[2] = {0, 0};
    size_t known = 0, sums = 0;
    for (size_t i = 1; i + 10 < n; i++) {
        if (known < 2 && strcmp(w[i], "had") == 0 && is_number(w[i + 1])) {
            name[known] = w[i - 1];
            hoard[known++] = atol(w[i + 1]);
        } else if (known == 2 && strcmp(w[i], "gave") == 0) {
            const int giver = strcmp(w[i - 1], name[1]) == 0;
            hoard[giver] -= atol(w[i + 2]);
            hoard[!giver] += atol(w[i + 2]);
        } else if (known == 2 && strcmp(w[i], "found") == 0) {
            hoard[0] += atol(w[i + 1]);
        } else if (known == 2 && strcmp(w[i], "lost") == 0) {
            hoard[1] -= atol(w[i + 1]);
        } else if (known == 2 && (strcmp(w[i], "Now") == 0 || strcmp(w[i], "So") == 0) && is_number(w[i + 3])) {
            const size_t v = strcmp(w[i + 7], "had") == 0 ? i + 8 : i + 10;
            sums++;
            check(atol(w[i + 3]) == hoard[0], "%s has %ld, not %s", name[0], hoard[0], w[i + 3]);
            check(atol(w[v]) == hoard[1], "%s has %ld, not %s", name[1], hoard[1], w[v]);
            check((hoard[0] == 1) == (w[i + 4][strlen(w[i + 4]) - 1] != 's'), "%s %s", w[i + 3], w[i + 4]);
        }
    }
    return sums;
}

/* Follows the coins through a story of plot_errand. */
static size_t follow_coins(char **w, size_t n)
{
    long coins = 0;
    size_t sums = 0;
    for (size_t i = 0; i + 5 < n; i++) {
        if (strcmp(w[i], "here") == 0 && is_number(w[i + 2]))
            coins = atol(w[i + 2]);
        if (strcmp(w[i], "cost") != 0)
            continue;
        coins -= atol(w[i + 1]);
        sums++;
        check(atol(w[i + 4]) == coins, "%ld coins are left, not %s", coins, w[i + 4]);
    }
    return sums;
}

static void test_sums(void)
{
    Stories s;
    if (!generate(31, 500000, &s))
        return;
    size_t sums[2] = {0, 0};
    for (size_t i = 0; i < s.story_count; i++) {
        char text[STORY_MAX], *words[WORDS_MAX];
        if (!cut_story(&s, i, text, sizeof text))
            continue;
        const bool hoards = strstr(text, " do you have now?\"") != NULL, coins = strstr(text, "here are") != NULL;
        const size_t n = split_words(text, words);
        sums[0] += hoards ? follow_hoards(words, n) : 0;
        sums[1] += coins ? follow_coins(words, n) : 0;
    }
    check(sums[0] > 100 && sums[1] > 200, "only %zu hoards and %zu purses were seen", sums[0], sums[1]);
    stories_free(&s);
}

static void test_agreement(void)
{
    static const char women[] = " Alice Anna Bella Clara Dora Ella Emma Greta Hanna Ida Julia Kate Lena Lucy Maya Mia "
                                "Nina Olga Rosa Ruth Sara Tess Vera Zoe ";
    static const char *const before[] = {"find", "visit", "to", "for"};
    Stories s;
    if (!generate(32, 500000, &s))
        return;
    size_t articles = 0, pronouns = 0;
    for (size_t i = 0; i < s.story_count; i++) {
        char text[STORY_MAX], *w[WORDS_MAX], padded[64];
        if (!cut_story(&s, i, text, sizeof text))
            continue;
        const size_t n = split_words(text, w);
        size_t hero = 1;
        while (hero < 8 && !(isupper((unsigned char)w[hero][0]) && strstr(w[hero], "day") == NULL))
            hero++;
        snprintf(padded, sizeof padded, " %s ", w[hero]);
        const char *own = strstr(women, padded) != NULL ? "her" : "his";
        for (size_t k = 0; k < 4; k++) /* "Anna set off to visit her", "Ben could not find his" */
            for (size_t j = hero; j < hero + 7; j++)
                if (strcmp(w[j], before[k]) == 0 && (strcmp(w[j + 1], "his") == 0 || strcmp(w[j + 1], "her") == 0)) {
                    pronouns++;
                    check(strcmp(w[j + 1], own) == 0, "%s ... %s %s", w[hero], w[j], w[j + 1]);
                }
        for (size_t j = 0; j + 1 < n; j++)
            if (strcmp(w[j], "a") == 0 || strcmp(w[j], "an") == 0) {
                articles++;
                check((w[j][1] == 'n') == (strchr("aeiou", w[j + 1][0]) != NULL), "%s %s", w[j], w[j + 1]);
            }
    }
    check(articles > 1000 && pronouns > 200, "only %zu articles and %zu pronouns were seen", articles, pronouns);
    stories_free(&s);
}

static void test_text(void)
{
    Stories s;
    if (!generate(33, 200000, &s))
        return;
    check(s.size >= 200000 && s.size < 200000 + STORY_MAX, "%zu bytes for 200000", s.size);
    for (size_t i = 0; i < s.size; i++)
        check(s.text[i] == '\n' || (s.text[i] >= ' ' && s.text[i] <= '~'), "byte %zu is %d", i, s.text[i]);
    for (size_t i = 1; i <= s.story_count; i++) {
        const size_t end = i < s.story_count ? s.story_start[i] : s.size;
        check(memcmp(s.text + end - 2, "\n\n", 2) == 0, "story %zu does not end with an empty line", i - 1);
    }
    stories_free(&s);
}

/* --- stability --- */

static uint64_t fnv1a(const unsigned char *bytes, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static void test_seeds(void)
{
    Stories a, b, c;
    if (!generate(1, 100000, &a) || !generate(1, 120000, &b) || !generate(2, 100000, &c))
        return;
    check_same_bits(b.text, a.text, a.size, "a longer text of the same seed");
    check(memcmp(a.text, c.text, 100000) != 0, "seeds 1 and 2 tell the same");
    const uint64_t golden = 0x5fc4ecbc8dda7485; /* changes whenever the language does */
    check(fnv1a(a.text, 100000) == golden, "hash of seed 1 is 0x%016llx", (unsigned long long)fnv1a(a.text, 100000));
    stories_free(&a);
    stories_free(&b);
    stories_free(&c);
}

/* --- the floor --- */

static void test_floor_by_hand(void)
{
    /* Stories of 2 and 4 bytes with 2 and 0 nats: mean 1/3, residuals +-4/3, error sqrt(2 * 32/9) / 6 = 4/9. */
    float nats[] = {1, 1, 0, 0, 0, 0};
    size_t starts[] = {0, 2};
    const Stories s = {.size = 6, .nats = nats, .story_count = 2, .story_start = starts};
    double mean, error;
    stories_floor(&s, 0, 6, &mean, &error);
    check_close(mean, 1.0 / 3, 1e-15, "mean");
    check_close(error, 4.0 / 9, 1e-15, "standard error");
    stories_floor(&s, 1, 4, &mean, &error); /* 1 byte with 1 nat, 2 bytes with none: residuals +-2/3 */
    check_close(mean, 1.0 / 3, 1e-15, "mean of a part");
    check_close(error, sqrt(2 * 8.0 / 9) / 3, 1e-15, "standard error of a part");
    stories_floor(&s, 3, 5, &mean, &error);
    check(mean == 0 && isinf(error), "one story: mean %g, error %g", mean, error);
    stories_floor(&s, 5, 5, &mean, &error);
    check(isnan(mean) && isnan(error), "an empty range has mean %g, error %g", mean, error);
}

/* Over independent seeds, sum ((mean_i - mean) / error_i)^2 is about chi-square with n - 1 degrees of freedom, of mean
 * n - 1 and variance 2 (n - 1). */
static void test_floor_converges(void)
{
    enum { SEEDS = 30 };
    double mean[SEEDS], error[SEEDS], sum = 0, chi_square = 0;
    for (size_t i = 0; i < SEEDS; i++) {
        Stories s;
        if (!generate(100 + i, 200000, &s))
            return;
        stories_floor(&s, 0, s.size, &mean[i], &error[i]);
        sum += mean[i];
        stories_free(&s);
    }
    for (size_t i = 0; i < SEEDS; i++)
        chi_square += pow((mean[i] - sum / SEEDS) / error[i], 2);
    check_close(chi_square, SEEDS - 1, 4 * sqrt(2.0 * (SEEDS - 1)), "chi-square of the means of 30 seeds");
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Entropy in nats of the text's runs of n <= 8 bytes. */
static double run_entropy(const unsigned char *text, size_t size, size_t n, uint64_t *runs)
{
    const size_t count = size - 7; /* the same for every n */
    double entropy = 0;
    for (size_t i = 0; i < count; i++) {
        runs[i] = 0;
        for (size_t j = 0; j < n; j++)
            runs[i] = runs[i] << 8 | text[i + j];
    }
    qsort(runs, count, sizeof *runs, compare_u64);
    for (size_t i = 0, j; i < count; i = j) {
        for (j = i; j < count && runs[j] == runs[i]; j++)
            continue;
        const double p = (double)(j - i) / (double)count;
        entropy -= p * log(p);
    }
    return entropy;
}

/* The entropy of the next byte given the k before it, counted on the text itself, is less than any k-byte statistics
 * reach on fresh text. The floor has to be less than half of it even so. */
static void test_floor_below_ngrams(void)
{
    Stories s;
    double mean, error;
    if (!generate(41, 2000000, &s))
        return;
    uint64_t *runs = malloc(s.size * sizeof *runs);
    if (runs == NULL)
        abort();
    stories_floor(&s, 0, s.size, &mean, &error);
    double entropy[7] = {0};
    for (size_t n = 1; n <= 6; n++)
        entropy[n] = run_entropy(s.text, s.size, n, runs);
    printf("      floor %.4f +- %.4f nats/byte; next byte given 1..5 bytes:", mean, error);
    for (size_t k = 1; k <= 5; k++)
        printf(" %.4f", entropy[k + 1] - entropy[k]);
    printf("\n");
    check(mean > 0 && mean < 0.5 * (entropy[5] - entropy[4]), "floor %g, order 4 %g", mean, entropy[5] - entropy[4]);
    free(runs);
    stories_free(&s);
}

int main(void)
{
    check_run("generated text: choices are prefix-free, cover every byte and add up", test_derivation);
    check_run("generated text parses back to the same bits", test_round_trip);
    check_run("a text may stop anywhere", test_cut_anywhere);
    check_run("what is no story is refused with a place and a reason", test_refusals);
    check_run("a changed byte is noticed", test_one_byte_changed);
    check_run("mutated texts do no harm", test_mutations);
    check_run("patterns, and faults in them", test_patterns);
    check_run("sums are right", test_sums);
    check_run("pronouns, articles and plurals agree", test_agreement);
    check_run("the text is ASCII, stories end with an empty line", test_text);
    check_run("a seed names a text", test_seeds);
    check_run("floor of two stories, by hand", test_floor_by_hand);
    check_run("floor converges over seeds", test_floor_converges);
    check_run("floor is below n-gram entropies", test_floor_below_ngrams);
    return check_summary();
}
