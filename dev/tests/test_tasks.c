/* --eval's tasks against each row and window by itself, and the tables of losses. */
#include "base/random.h"
#include "data/choices.h"
#include "data/loader.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "dev/tests/shards.h"
#include "files/files.h"
#include "train/tasks.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = 24, VOCAB = 256, ITEMS = 151 };

static Gpt *gpt;
static const GptSetup setup = {.B = 7, .T = T, .mode = GPT_INFERENCE};
static Tokenizer *bytes;

static void must(int status, const Error *e)
{
    if (status != 0) {
        fprintf(stderr, "%s\n", e->text);
        exit(1);
    }
}

/* A model whose logits are far from even. */
static void make_model(void)
{
    const GptConfig config = {.L = 2, .NH = 2, .C = 16, .V = VOCAB, .T = T};
    Error e;
    must(gpt_create(&config, &setup, &gpt, &e), &e);
    for (size_t i = 0; i < gpt_table(gpt)->count; i++) {
        const Tensor *t = &gpt_table(gpt)->tensors[i];
        float *x = malloc(tensor_size(t) * sizeof *x);
        Random random = random_make(5, i);
        for (size_t k = 0; k < tensor_size(t); k++)
            x[k] = 0.5f * (float)random_normal(&random);
        gpt_write(gpt, GPT_PARAMS, t, x);
        free(x);
    }
}

/* -log p of tokens[n] after the (up to T) before it, from logits; in double. */
static double surprise(const int32_t *tokens, size_t n)
{
    const size_t inputs = n < T ? n : T;
    float logits[VOCAB];
    double sum = 0;
    gpt_forward(gpt, tokens + n - inputs, 1, inputs);
    gpt_logits(gpt, inputs - 1, logits);
    for (size_t i = 0; i < VOCAB; i++)
        sum += exp((double)logits[i] - (double)logits[tokens[n]]);
    return log(sum);
}

/* The value of a measure in the rows "step,task,measure,value". */
static double measure_of(const char *csv, const char *task, const char *measure)
{
    char begin[256];
    snprintf(begin, sizeof begin, "3,%s,%s,", task, measure);
    const char *row = strstr(csv, begin);
    return check(row != NULL, "no %s in: %s", begin, csv) ? strtod(row + strlen(begin), NULL) : 0;
}

/* Runs the list; the rows and what was printed go to csv and shown. */
static void run(const char *list, LossTables *tables, char csv[1024], char shown[1024])
{
    Tasks *tasks;
    Error e;
    FILE *rows = fmemopen(csv, 1024, "w"), *to = fmemopen(shown, 1024, "w");
    must(tasks_open(list, bytes, VOCAB, &tasks, &e), &e);
    must(tasks_run(tasks, gpt, &setup, NULL, 3, to, rows, tables, &e), &e);
    fclose(rows);
    fclose(to);
    tasks_close(tasks);
}

/* Texts of 1 to 12 letters; some rows are longer than the model's context. */
static void write_items(const char *path)
{
    Error e;
    char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    Random random = random_make(9, 0);
    for (size_t i = 0; i < ITEMS; i++) {
        fprintf(to, "{\"ctx\": \"");
        for (size_t n = 1 + (size_t)random_below(&random, 24); n > 0; n--)
            fputc('a' + (int)random_below(&random, 26), to);
        fprintf(to, "\", \"endings\": [");
        for (size_t k = 0; k < 2 + i % 3; k++) {
            fprintf(to, k > 0 ? ", \"" : "\"");
            for (size_t n = 1 + (size_t)random_below(&random, 12); n > 0; n--)
                fputc('a' + (int)random_below(&random, 26), to);
            fprintf(to, "\"");
        }
        fprintf(to, "], \"label\": %zu}\n", i % 2);
    }
    fclose(to);
    must(files_write_atomic(path, text, size, &e), &e);
    free(text);
}

/* The choice between endings with the smallest sum and the smallest mean, each ending's tokens one after the other. In
 * a row that is longer than the context the task keeps the last T inputs for all its targets. */
static void test_choices(void)
{
    char path[128], list[160], csv[1024], shown[1024];
    size_t right = 0, right_mean = 0, cut = 0;
    Choices c;
    Error e;
    in_folder("items.jsonl", path);
    write_items(path);
    must(choices_read(path, bytes, VOCAB, &c, &e), &e);
    for (size_t i = 0; i < c.count; i++) {
        double best = INFINITY, best_mean = INFINITY;
        size_t choice = 0, choice_mean = 0;
        for (size_t k = 0; k < c.items[i].count; k++) {
            const ChoiceRow *row = &c.rows[c.items[i].first + k];
            int32_t tokens[128];
            for (size_t n = 0; n < row->length; n++)
                tokens[n] = c.tokens[row->begin + n];
            const size_t skipped = row->length - 1 > T ? row->length - 1 - T : 0;
            const size_t ending = row->length - row->context;
            double sum = 0;
            cut += skipped > 0;
            for (size_t n = row->context; n < row->length; n++)
                sum += surprise(tokens + skipped, n - skipped);
            if (sum < best)
                choice = k;
            if (sum / (double)ending < best_mean)
                choice_mean = k;
            best = fmin(best, sum);
            best_mean = fmin(best_mean, sum / (double)ending);
        }
        right += choice == c.items[i].label;
        right_mean += choice_mean == c.items[i].label;
    }
    choices_free(&c);
    snprintf(list, sizeof list, "hellaswag=%s", path);
    run(list, NULL, csv, shown);
    check(cut > 0 && right != right_mean, "%zu rows are cut, %zu and %zu items right: the items test too little", cut,
          right, right_mean);
    check_close(measure_of(csv, list, "accuracy"), (double)right / ITEMS, 1e-8, "accuracy");
    check_close(measure_of(csv, list, "accuracy_normalised"), (double)right_mean / ITEMS, 1e-8, "normalised");
    char words[96];
    snprintf(words, sizeof words, "%zu endings with their context are longer than %d tokens", cut, T);
    check(strstr(shown, words) != NULL, "'%s' is not in: %s", words, shown);
}

/* Two shards; every token but the first of each is a target, predicted within its window. */
static void test_shards(void)
{
    static const size_t sizes[] = {70, 31};
    enum { MOST = 70 };
    char path[128], list[160], csv[1024], shown[1024], prefix[128];
    double sum = 0, by_position[T] = {0}, by_token[VOCAB] = {0};
    size_t targets = 0, positions[T] = {0}, tokens[VOCAB] = {0};
    LossTables *tables;
    Error e;
    for (size_t s = 0; s < 2; s++) {
        uint16_t ids[MOST];
        int32_t wide[MOST];
        char name[16];
        Random random = random_make(11, s);
        for (size_t i = 0; i < sizes[s]; i++)
            wide[i] = ids[i] = (uint16_t)((size_t)random_below(&random, 5) * (random_below(&random, 2) + 1));
        unsigned char *file = shard_bytes(ids, sizes[s]);
        snprintf(name, sizeof name, "shard%zu.bin", s);
        must(files_write_atomic(in_folder(name, path), file, 1024 + 2 * sizes[s], &e), &e);
        free(file);
        for (size_t i = 1; i < sizes[s]; i++) {
            const size_t position = (i - 1) % T, begin = i - 1 - position;
            const double loss = surprise(wide + begin, i - begin);
            sum += loss;
            by_position[position] += loss;
            by_token[wide[i]] += loss;
            positions[position]++;
            tokens[wide[i]]++;
            targets++;
        }
    }
    snprintf(list, sizeof list, "shards=%s", in_folder("shard*.bin", path));
    must(loss_tables_create(T, VOCAB, &tables, &e), &e);
    run(list, tables, csv, shown);
    check_close(measure_of(csv, list, "loss"), sum / (double)targets, 1e-5, "loss");
    check_close(measure_of(csv, list, "perplexity"), exp(sum / (double)targets), 1e-4 * exp(sum / (double)targets),
                "perplexity");
    check_close(measure_of(csv, list, "bits_a_byte"), sum / (double)targets / log(2), 1e-5, "bits a byte");

    must(loss_tables_write(tables, in_folder("losses", prefix), NULL, &e), &e);
    loss_tables_free(tables);
    char *text, *row;
    size_t size, rows = 0;
    must(files_read_all(in_folder("losses_position.csv", path), 1 << 16, &text, &size, &e), &e);
    for (row = strchr(text, '\n') + 1; *row != '\0'; row = strchr(row, '\n') + 1, rows++) {
        size_t position = 0, count = 0;
        double loss = 0;
        check(sscanf(row, "%zu,%zu,%lf", &position, &count, &loss) == 3 && position < T, "%s", row);
        check(count == positions[position % T], "position %zu has %zu targets", position, count);
        check_close(loss, by_position[position % T] / (double)count, 1e-5, "by position");
    }
    check(rows == T, "%zu positions", rows);
    free(text);
    must(files_read_all(in_folder("losses_frequency.csv", path), 1 << 16, &text, &size, &e), &e);
    size_t all = 0, kinds_in_all = 0;
    for (row = strchr(text, '\n') + 1; *row != '\0'; row = strchr(row, '\n') + 1) {
        size_t from = 0, most = 0, kinds = 0, count = 0, want = 0, want_kinds = 0;
        double loss = 0, want_sum = 0;
        check(sscanf(row, "%zu,%zu,%zu,%zu,%lf", &from, &most, &kinds, &count, &loss) == 5, "%s", row);
        for (size_t i = 0; i < VOCAB; i++)
            if (tokens[i] >= from && tokens[i] <= most) {
                want += tokens[i];
                want_sum += by_token[i];
                want_kinds++;
            }
        check(count == want && kinds == want_kinds, "%zu to %zu times: %zu targets", from, most, count);
        check_close(loss, want_sum / (double)want, 1e-5, "by frequency");
        all += count;
        kinds_in_all += kinds;
    }
    check(all == targets, "%zu of %zu targets", all, targets);
    check(kinds_in_all > 3, "%zu tokens occur", kinds_in_all);
    free(text);
}

static void test_refused(void)
{
    static const struct {
        const char *list, *words;
        bool tables;
    } lists[] = {
        {"helloswag", "no task 'helloswag'", false},
        {"shards", "names no shards", false},
        {"shards=", "names no shards", false},
        {"hellaswag=", "names no file", false},
        {"", "no task ''", false},
        {"hellaswag,", "no task ''", false},
        {"shardsx=a", "no task 'shardsx=a'", false},
        {"shards=a,hellaswag,shards=a", "shards=a twice", false},
        {"hellaswag=shards=x", "once", true},
        {"shards=a,shards=b", "once", true},
        {"shards=1,shards=2,shards=3,shards=4,shards=5,shards=6,shards=7,shards=8,shards=9,shards=10,shards=11,"
         "shards=12,shards=13,shards=14,shards=15,shards=16,shards=17",
         "more than 16", false},
    };
    static const char *const missing[] = {"hellaswag=/nowhere", "shards=/nowhere"};
    Tasks *tasks;
    Error e = {.text = ""};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        check(tasks_check(lists[i].list, lists[i].tables, &e) == -1, "'%s' is a list", lists[i].list);
        check(strstr(e.text, lists[i].words) != NULL, "%s: %s", lists[i].list, e.text);
    }
    check(tasks_check("hellaswag,hellaswag=a,shards=b", true, &e) == 0, "%s", e.text);
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        check(tasks_open(missing[i], bytes, VOCAB, &tasks, &e) == -1 && tasks == NULL, "%s is opened", missing[i]);
        check(strstr(e.text, "/nowhere") != NULL, "%s", e.text);
    }
}

int main(void)
{
    Error e;
    if (!folder_begin("tasks"))
        return 1;
    must(tokenizer_of_bytes(&bytes, &e), &e);
    make_model();
    check_run("multiple choice", test_choices);
    check_run("shards", test_shards);
    check_run("what is refused", test_refused);
    gpt_free(gpt);
    tokenizer_close(bytes);
    folder_end();
    return check_summary();
}
