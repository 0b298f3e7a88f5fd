#include "data/stories.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Writes the built-in corpus as plain text, or measures a text in its language:
 *
 *     make_stories [--bytes N] [--seed N] [FILE]
 *     make_stories --check FILE
 */

static const char usage[] =
    "usage: make_stories [--bytes N] [--seed N] [FILE]   writes stories (to stdout without FILE)\n"
    "       make_stories --check FILE                   mean -log p of a text in the language\n";

typedef struct Options {
    uint64_t bytes, seed;
    const char *file;
    bool check;
} Options;

static int parse_number(const char *option, const char *text, uint64_t *value, Error *e)
{
    char *end;
    if (text == NULL || *text < '0' || *text > '9')
        return error_set(e, "%s needs a whole number, not '%s'", option, text != NULL ? text : "");
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    if (*end != '\0' || errno != 0)
        return error_set(e, "%s needs a whole number below 2^64, not '%s'", option, text);
    *value = number;
    return 0;
}

static int parse_options(int argc, char **argv, Options *o, Error *e)
{
    *o = (Options){.bytes = 10000000, .seed = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bytes") == 0 || strcmp(argv[i], "--seed") == 0) {
            uint64_t *value = argv[i][2] == 'b' ? &o->bytes : &o->seed;
            if (parse_number(argv[i], argv[i + 1], value, e) != 0)
                return -1;
            i++;
        } else if (strcmp(argv[i], "--check") == 0) {
            o->check = true;
        } else if (argv[i][0] == '-' || o->file != NULL) {
            return error_set(e, "unknown argument '%s' (see --help)", argv[i]);
        } else {
            o->file = argv[i];
        }
    }
    if (o->check && o->file == NULL)
        return error_set(e, "--check needs a file");
    return 0;
}

static int write_text(const char *file, const Stories *s, Error *e)
{
    const char *name = file != NULL ? file : "standard output";
    const int to = file != NULL ? open(file, O_WRONLY | O_CREAT | O_EXCL, 0666) : STDOUT_FILENO;
    if (to < 0)
        return error_set(e, "%s: %s", name,
                         errno == EEXIST ? "already exists; it is not overwritten" : strerror(errno));
    for (size_t done = 0; done < s->size;) {
        const ssize_t n = write(to, s->text + done, s->size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(e, "%s: %s after %zu of %zu bytes", name, strerror(errno), done, s->size);
        done += (size_t)n;
    }
    if (file != NULL && close(to) != 0)
        return error_set(e, "%s: %s", name, strerror(errno));
    return 0;
}

/* The whole file; the caller frees *text. */
static int read_text(const char *file, unsigned char **text, size_t *size, Error *e)
{
    FILE *from = fopen(file, "rb");
    if (from == NULL)
        return error_set(e, "%s: %s", file, strerror(errno));
    size_t capacity = 0, n = 0;
    *text = NULL;
    *size = 0;
    do {
        if (*size == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 1 << 20;
            unsigned char *larger = realloc(*text, capacity);
            if (larger == NULL)
                break;
            *text = larger;
        }
        n = fread(*text + *size, 1, capacity - *size, from);
        *size += n;
    } while (n > 0);
    const bool whole = feof(from) && !ferror(from);
    fclose(from);
    if (whole)
        return 0;
    free(*text);
    return error_set(e, "%s: cannot be read", file);
}

static int check_file(const char *file, Error *e)
{
    unsigned char *text = NULL;
    size_t size = 0;
    Error inner;
    Stories s;
    if (read_text(file, &text, &size, e) != 0)
        return -1;
    const int result = stories_parse(text, size, &s, &inner);
    free(text);
    if (result != 0)
        return error_set(e, "%s: %s", file, inner.text);
    double mean, error;
    stories_floor(&s, 0, s.size, &mean, &error);
    const double length = (double)s.size / (double)s.story_count;
    printf("%zu bytes, %zu stories, %.1f bytes per story\n", s.size, s.story_count, length);
    printf("floor %.5f +- %.5f nats/byte, %.5f bits/byte\n", mean, error, mean / log(2.0));
    stories_free(&s);
    return fflush(stdout) == 0 ? 0 : error_set(e, "standard output: %s", strerror(errno));
}

static int make_file(const Options *o, Error *e)
{
    Stories s;
    if (o->bytes > SIZE_MAX)
        return error_set(e, "--bytes %llu is more than this machine can address", (unsigned long long)o->bytes);
    if (stories_generate(o->seed, (size_t)o->bytes, &s, e) != 0)
        return -1;
    const int result = write_text(o->file, &s, e);
    stories_free(&s);
    return result;
}

int main(int argc, char **argv)
{
    Options options;
    Error e;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (parse_options(argc, argv, &options, &e) == 0 &&
        (options.check ? check_file(options.file, &e) : make_file(&options, &e)) == 0)
        return 0;
    fprintf(stderr, "make_stories: %s\n", e.text);
    return 1;
}
