/* Token sets against shards this program writes, token by token, and against files that are no shards. */
#include "base/hash.h"
#include "base/random.h"
#include "data/loader.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "dev/tests/shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- tokens of shards and texts --- */

static void test_every_token(void)
{
    Tokens *tokens = open_tokens("set_*.bin", V);
    check(tokens_shards(tokens) == SHARDS && tokens_total(tokens) == ALL, "%zu shards, %zu tokens",
          tokens_shards(tokens), tokens_total(tokens));
    check(tokens_targets(tokens) == ALL - SHARDS, "%zu targets", tokens_targets(tokens));
    for (size_t s = 0; s < SHARDS; s++) {
        check(tokens_shard_size(tokens, s) == shard_sizes[s], "shard %zu has %zu tokens", s,
              tokens_shard_size(tokens, s));
        for (size_t begin = 0; begin <= shard_sizes[s]; begin += 7)
            for (size_t count = 0; count <= shard_sizes[s] - begin; count += 3) {
                int32_t got[ALL + 1];
                Error e = {""};
                got[count] = -7;
                check(tokens_read(tokens, s, begin, count, got, &e) == 0, "%s", e.text);
                check(got[count] == -7, "shard %zu: wrote past token %zu", s, begin + count);
                for (size_t i = 0; i < count; i++)
                    check(got[i] == id_of(shard_start(s) + begin + i), "shard %zu: token %zu is %d", s, begin + i,
                          got[i]);
            }
    }
    tokens_close(tokens);
}

static void test_name_order(void)
{
    const char *const names[] = {"order_b.bin", "order_a.bin", "order_10.bin", "order_B.bin", "order_9.bin"};
    const char *const sorted[] = {"order_10.bin", "order_9.bin", "order_B.bin", "order_a.bin", "order_b.bin"};
    for (size_t i = 0; i < 5; i++)
        write_shard(path_of(names[i]).text, (const uint16_t[]){1, 2}, 2);
    Tokens *tokens = open_tokens("order_*.bin", 3);
    check(tokens_shards(tokens) == 5, "%zu shards", tokens_shards(tokens));
    for (size_t s = 0; s < 5; s++)
        check(strcmp(tokens_shard_name(tokens, s), path_of(sorted[s]).text) == 0, "shard %zu is %s", s,
              tokens_shard_name(tokens, s));
    tokens_close(tokens);
}

static void test_many_shards_few_descriptors(void)
{
    enum { MANY = 100 };
    for (uint16_t i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof name, "many_%03d.bin", i);
        write_shard(path_of(name).text, (const uint16_t[]){i, 7, 8}, 3);
    }
    struct rlimit usual, tight;
    check(getrlimit(RLIMIT_NOFILE, &usual) == 0, "getrlimit");
    tight = usual;
    tight.rlim_cur = 32;
    check(setrlimit(RLIMIT_NOFILE, &tight) == 0, "setrlimit");
    Tokens *tokens = open_tokens("many_*.bin", MANY);
    for (size_t pass = 0; pass < 2 && tokens != NULL; pass++)
        for (size_t s = 0; s < MANY; s++) {
            int32_t id;
            Error e = {""};
            check(tokens_read(tokens, s, 0, 1, &id, &e) == 0 && id == (int32_t)s, "shard %zu: %s", s, e.text);
        }
    setrlimit(RLIMIT_NOFILE, &usual);
    tokens_close(tokens);
}

static void check_bytes(const Tokens *tokens, const unsigned char *bytes, size_t n)
{
    int32_t *got = malloc(n * sizeof *got);
    Error e = {""};
    check(tokens_shards(tokens) == 1 && tokens_total(tokens) == n, "%zu bytes, want %zu", tokens_total(tokens), n);
    check(tokens_read(tokens, 0, 0, n, got, &e) == 0, "%s", e.text);
    for (size_t i = 0; i < n; i++)
        check(got[i] == bytes[i], "byte %zu is %d, want %d", i, got[i], bytes[i]);
    free(got);
}

static void test_bytes_and_text(void)
{
    unsigned char bytes[300];
    Error e = {""};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 37);
    Tokens *tokens, *train, *val;
    if (check(tokens_from_bytes("prompt", bytes, sizeof bytes, &tokens, &e) == 0, "%s", e.text)) {
        check(strcmp(tokens_shard_name(tokens, 0), "prompt") == 0, "called %s", tokens_shard_name(tokens, 0));
        check_bytes(tokens, bytes, sizeof bytes);
        tokens_close(tokens);
    }
    const struct {
        size_t n, train;
    } cuts[] = {{11, 9}, {19, 17}, {20, 18}, {100, 90}, {299, 269}};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        const Path path = path_of("text.txt");
        write_bytes(path.text, bytes, cuts[i].n);
        if (check(tokens_from_text(path.text, &train, &val, &e) == 0, "%zu bytes: %s", cuts[i].n, e.text)) {
            check_bytes(train, bytes, cuts[i].train);
            check_bytes(val, bytes + cuts[i].train, cuts[i].n - cuts[i].train);
            tokens_close(train);
            tokens_close(val);
        }
    }
}

/* The parts of a text lie in its file, which may be larger than memory. */
static void test_large_text(void)
{
    const size_t n = ((size_t)5 << 30) + 7, cut = n / 10 * 9 + n % 10 * 9 / 10;
    const Path path = path_of("large.txt");
    unsigned char bytes[] = "0123456789";
    int32_t got[5];
    Tokens *train, *val;
    Error e = {""};
    write_bytes(path.text, bytes, 10);
    FILE *file = fopen(path.text, "r+b");
    if (truncate(path.text, (off_t)n) != 0) {
        fclose(file);
        check_skip("no file of 5 GiB can be made, not even a hole");
        return;
    }
    check(fseeko(file, (off_t)cut - 5, SEEK_SET) == 0 && fwrite(bytes, 1, 10, file) == 10, "fwrite");
    fclose(file);
    if (check(tokens_from_text(path.text, &train, &val, &e) == 0, "%s", e.text)) {
        check(tokens_total(train) == cut && tokens_total(val) == n - cut, "%zu and %zu", tokens_total(train),
              tokens_total(val));
        check(tokens_read(train, 0, cut - 5, 5, got, &e) == 0 && got[0] == '0' && got[4] == '4', "%s", e.text);
        check(tokens_read(val, 0, 0, 5, got, &e) == 0 && got[0] == '5' && got[4] == '9', "%s", e.text);
        check(truncate(path.text, (off_t)n - 1) == 0, "truncate");
        check(tokens_read(train, 0, 0, 5, got, &e) == -1, "a text that has shrunk was read");
        check_sentence(&e, path.text, "had 5368709127 bytes when it was opened and now has 5368709126");
        check(tokens_read(val, 0, 0, 5, got, &e) == -1, "a text that has shrunk was read");
        tokens_close(train);
        tokens_close(val);
    }
    unlink(path.text);
}

/* --- hashes --- */

/* The hash by its definition; the size comes last in those of many bytes. */
static uint64_t hash_of(const unsigned char *bytes, uint64_t n)
{
    if (n <= 4 << 20)
        return hash_bytes(bytes, n);
    unsigned char blocks[64 * 4096 + 8];
    for (uint64_t i = 0; i < 64; i++)
        memcpy(blocks + i * 4096, bytes + i * (n - 4096) / 63, 4096);
    for (int i = 0; i < 8; i++)
        blocks[64 * 4096 + i] = (unsigned char)(n >> 8 * i);
    return hash_bytes(blocks, sizeof blocks);
}

static uint64_t shard_hash(const Tokens *tokens)
{
    uint64_t hash = 0;
    Error e = {""};
    check(tokens_shard_hash(tokens, 0, &hash, &e) == 0, "%s", e.text);
    return hash;
}

static void test_hashes(void)
{
    enum { MOST = (4 << 20) + 12346 };
    static unsigned char bytes[MOST];
    const size_t sizes[] = {2, 4096, 4098, 100000, 4 << 20, (4 << 20) + 2, MOST};
    Random random = random_make(6, 0);
    Tokens *tokens, *train, *val;
    Error e = {""};
    for (size_t i = 0; i < MOST; i++)
        bytes[i] = (unsigned char)random_u64(&random);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t n = sizes[i];
        const uint64_t want = hash_of(bytes, n);
        check(tokens_from_bytes("bytes", bytes, n, &tokens, &e) == 0, "%s", e.text);
        check(shard_hash(tokens) == want, "%zu bytes in memory", n);
        tokens_close(tokens);
        uint16_t *ids = malloc(n);
        for (size_t k = 0; k < n / 2; k++)
            ids[k] = (uint16_t)(bytes[2 * k] | bytes[2 * k + 1] << 8);
        write_shard(path_of("hashed.bin").text, ids, n / 2);
        free(ids);
        tokens = open_tokens("hashed.bin", 65536);
        check(shard_hash(tokens) == want, "%zu bytes of a shard", n);
        tokens_close(tokens);
    }
    const Path path = path_of("hashed.txt");
    write_bytes(path.text, bytes, MOST);
    if (check(tokens_from_text(path.text, &train, &val, &e) == 0, "%s", e.text)) {
        uint64_t hash;
        const size_t cut = tokens_total(train);
        check(shard_hash(train) == hash_of(bytes, cut), "the first part of a text");
        check(shard_hash(val) == hash_of(bytes + cut, MOST - cut), "its other part");
        check(truncate(path.text, 100) == 0, "truncate");
        check(tokens_shard_hash(val, 0, &hash, &e) == -1 && strstr(e.text, "and now has 100"), "%s", e.text);
        tokens_close(train);
        tokens_close(val);
    }
}

/* --- errors --- */

static void check_open_fails(const char *path, size_t vocabulary, const char *sentence)
{
    Tokens *tokens = NULL;
    Error e = {""};
    if (check(tokens_open(path, vocabulary, &tokens, &e) == -1, "opened, want '%s'", sentence))
        check_sentence(&e, path, sentence);
    else
        tokens_close(tokens);
}

static void test_faulty_shards(void)
{
    static const struct {
        int32_t magic, version, count;
        size_t bytes; /* of the file, 10 tokens being 1044 */
        const char *sentence;
    } faults[] = {
        {20240520, 1, 10, 0, "has 0 bytes; the header of a token shard alone has 1024"},
        {20240520, 1, 10, 1, "has 1 bytes; the header of a token shard alone has 1024"},
        {20240520, 1, 10, 1023, "has 1023 bytes; the header of a token shard alone has 1024"},
        {20240521, 1, 10, 1044, "is not a token shard: it begins with 20240521 instead of 20240520"},
        {-1, 1, 10, 1044, "is not a token shard: it begins with -1 instead of 20240520"},
        {0x08d83401, 1, 10, 1044, "is not a token shard: it begins with 148386817 instead of 20240520"},
        {20240520, 0, 10, 1044, "is a token shard of version 0; only 1 is known"},
        {20240520, 7, 10, 1044, "is a token shard of version 7; only 1 is known"},
        {20240520, 1, 0, 1024, "its header counts 0 tokens; it takes at least 1"},
        {20240520, 1, -10, 1044, "its header counts -10 tokens; it takes at least 1"},
        {20240520, 1, INT32_MIN, 1044, "its header counts -2147483648 tokens; it takes at least 1"},
        {20240520, 1, 10, 1024, "is truncated: its header counts 10 tokens, which makes 1044 bytes, but it has 1024"},
        {20240520, 1, 10, 1043, "is truncated: its header counts 10 tokens, which makes 1044 bytes, but it has 1043"},
        {20240520, 1, INT32_MAX, 1044,
         "is truncated: its header counts 2147483647 tokens, which makes 4294968318 bytes, but it has 1044"},
        {20240520, 1, 9, 1044, "is too long: its header counts 9 tokens, which makes 1042 bytes, but it has 1044"},
        {20240520, 1, 10, 1045, "is too long: its header counts 10 tokens, which makes 1044 bytes, but it has 1045"},
    };
    const Path path = path_of("fault.bin");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        unsigned char bytes[HEADER_BYTES + 64] = {0};
        put_int32(bytes, faults[i].magic);
        put_int32(bytes + 4, faults[i].version);
        put_int32(bytes + 8, faults[i].count);
        write_bytes(path.text, bytes, faults[i].bytes);
        check_open_fails(path.text, 256, faults[i].sentence);
    }
}

static void test_files_that_cannot_be_opened(void)
{
    Tokens *tokens;
    Error e = {""};
    check(tokens_open("", 10, &tokens, &e) == -1 && strcmp(e.text, "the pattern for token shards is empty") == 0,
          "empty pattern: %s", e.text);
    const Path nothing = path_of("nothing_*.bin");
    char want[256];
    snprintf(want, sizeof want, "no file matches '%s'", nothing.text);
    check(tokens_open(nothing.text, 10, &tokens, &e) == -1 && strcmp(e.text, want) == 0, "no match: %s", e.text);
    check_open_fails(folder, 10, "is not a regular file");

    const Path pipe = path_of("pipe.bin"), link = path_of("link.bin");
    check(mkfifo(pipe.text, 0600) == 0 && symlink("missing", link.text) == 0, "no pipe or link to test with");
    check_open_fails(pipe.text, 10, "is not a regular file");
    check_open_fails(link.text, 10, "cannot be opened: No such file or directory");

    if (geteuid() != 0) { /* root may read anything */
        const Path locked = path_of("locked.bin");
        write_shard(locked.text, (const uint16_t[]){1, 2}, 2);
        chmod(locked.text, 0);
        check_open_fails(locked.text, 10, "cannot be opened: Permission denied");
    }
}

static void test_one_faulty_shard_among_good_ones(void)
{
    Tokens *tokens;
    Error e = {""};
    const Path bad = path_of("mixed_2.bin");
    write_shard(path_of("mixed_1.bin").text, (const uint16_t[]){1, 2}, 2);
    write_shard(bad.text, (const uint16_t[]){1, 9}, 2);
    write_shard(path_of("mixed_3.bin").text, (const uint16_t[]){1, 2}, 2);
    check(tokens_open(path_of("mixed_*.bin").text, 9, &tokens, &e) == -1, "opened");
    check_sentence(&e, bad.text, "token 1 is 9, but the vocabulary ends at 8" NEEDS_GPT2);
}

/* Ids are checked at opening in the first 4096 tokens, and everywhere when they are read. */
static void test_ids_beyond_the_vocabulary(void)
{
    enum { COUNT = 6000 };
    const size_t places[] = {0, 1, 4095, 4096, 5999};
    const Path path = path_of("ids.bin");
    for (size_t i = 0; i < 5; i++) {
        uint16_t ids[COUNT];
        int32_t got[COUNT];
        char sentence[64];
        for (size_t k = 0; k < COUNT; k++)
            ids[k] = (uint16_t)(k % 50257);
        ids[places[i]] = 65535;
        write_shard(path.text, ids, COUNT);
        snprintf(sentence, sizeof sentence, "token %zu is 65535, but the vocabulary ends at 50256", places[i]);
        if (places[i] < 4096) {
            check_open_fails(path.text, 50257, sentence);
            continue;
        }
        Tokens *tokens = open_tokens("ids.bin", 50257);
        Error e = {""};
        check(tokens_read(tokens, 0, 4000, 2000, got, &e) == -1, "an id beyond the vocabulary was read");
        check_sentence(&e, path.text, sentence);
        check(tokens_read(tokens, 0, 0, places[i], got, &e) == 0, "%s", e.text);
        check(windows_read(tokens, 2000, SIZE_MAX, 2, 1, got, got + 2000, &e) == -1, "validation read it");
        check_sentence(&e, path.text, sentence);
        tokens_close(tokens);
    }
    Tokens *tokens = open_tokens("ids.bin", 65536); /* the same file, with a vocabulary that has them all */
    tokens_close(tokens);
}

static void test_faulty_texts(void)
{
    Tokens *train, *val;
    Error e = {""};
    const Path path = path_of("short.txt"), missing = path_of("missing.txt");
    const struct {
        size_t n;
        const char *sentence;
    } faults[] = {
        {0, "is empty"},
        {1, "has 1 bytes; a text to train on takes at least 11"},
        {10, "has 10 bytes; a text to train on takes at least 11"},
    };
    for (size_t i = 0; i < 3; i++) {
        write_bytes(path.text, (const unsigned char *)"0123456789", faults[i].n);
        check(tokens_from_text(path.text, &train, &val, &e) == -1, "a text of %zu bytes was taken", faults[i].n);
        check_sentence(&e, path.text, faults[i].sentence);
    }
    unsigned char shard[11] = {0};
    put_int32(shard, 20240520);
    write_bytes(path.text, shard, sizeof shard);
    check(tokens_from_text(path.text, &train, &val, &e) == -1, "a shard was taken for a text");
    check_sentence(&e, path.text, "is a file of token shards, not a text; give it with --train");
    check(tokens_from_text(missing.text, &train, &val, &e) == -1, "a missing text was taken");
    check_sentence(&e, missing.text, "cannot be opened: No such file or directory");
    check(tokens_from_text(folder, &train, &val, &e) == -1, "a directory was taken");
    check_sentence(&e, folder, "is not a regular file");
    check(tokens_from_bytes("nothing", NULL, 0, &train, &e) == -1, "no bytes were taken");
    check_sentence(&e, "nothing", "is empty");
}

/* --- any header at all --- */

/* Bytes changed in header or tokens, and the file cut or drawn out; *n is its length. */
static void mutate(Random *random, unsigned char *bytes, size_t *n)
{
    for (uint64_t changes = random_below(random, 3); changes > 0; changes--) {
        const size_t at = random_below(random, 2) == 0 ? random_below(random, 12) : random_below(random, *n);
        bytes[at] = (unsigned char)(random_below(random, 4) == 0 ? 0 : random_u64(random));
    }
    if (random_below(random, 4) == 0)
        *n += (size_t)random_below(random, 7) - 3;
    if (random_below(random, 16) == 0)
        *n = (size_t)random_below(random, *n + 1);
}

/* Whether the bytes are a shard, said once more in the plainest way. */
static bool is_shard(const unsigned char *bytes, size_t n, size_t vocabulary)
{
    if (n < HEADER_BYTES + 2 || n % 2 != 0)
        return false;
    unsigned char header[12];
    put_int32(header, 20240520);
    put_int32(header + 4, 1);
    put_int32(header + 8, (int32_t)((n - HEADER_BYTES) / 2));
    for (size_t i = HEADER_BYTES; i < n; i += 2)
        if (bytes[i] + 256u * bytes[i + 1] >= vocabulary)
            return false;
    return memcmp(bytes, header, sizeof header) == 0;
}

static void test_mutated_shards(void)
{
    enum { ROUNDS = 5000, COUNT = 40, VOCABULARY = 300 };
    const Path path = path_of("mutated.bin");
    uint16_t ids[COUNT];
    Random random = random_make(2026, 0);
    size_t taken = 0;
    for (size_t i = 0; i < COUNT; i++)
        ids[i] = (uint16_t)(i * 7);
    for (size_t round = 0; round < ROUNDS; round++) {
        unsigned char bytes[HEADER_BYTES + 2 * COUNT + 8] = {0}, *shard = shard_bytes(ids, COUNT);
        size_t n = HEADER_BYTES + 2 * COUNT;
        memcpy(bytes, shard, n);
        free(shard);
        mutate(&random, bytes, &n);
        write_bytes(path.text, bytes, n);
        Tokens *tokens = NULL;
        Error e = {""};
        const bool opened = tokens_open(path.text, VOCABULARY, &tokens, &e) == 0;
        check(opened == is_shard(bytes, n, VOCABULARY), "round %zu: %s", round, opened ? "opened" : e.text);
        check(opened || strncmp(e.text, path.text, strlen(path.text)) == 0, "round %zu: '%s'", round, e.text);
        taken += opened;
        tokens_close(tokens);
    }
    check(taken > ROUNDS / 10 && taken < ROUNDS * 9 / 10, "%zu of %d opened: no test of both", taken, ROUNDS);
}

int main(void)
{
    if (!shards_begin())
        return 1;
    check_run("tokens: every token of every shard", test_every_token);
    check_run("tokens: shards in the order of their names", test_name_order);
    check_run("tokens: more shards than descriptors", test_many_shards_few_descriptors);
    check_run("tokens: bytes and texts", test_bytes_and_text);
    check_run("tokens: a text larger than memory", test_large_text);
    check_run("tokens: hashes of shards", test_hashes);
    check_run("errors: faulty shards", test_faulty_shards);
    check_run("errors: files that cannot be opened", test_files_that_cannot_be_opened);
    check_run("errors: one faulty shard among good ones", test_one_faulty_shard_among_good_ones);
    check_run("errors: ids beyond the vocabulary", test_ids_beyond_the_vocabulary);
    check_run("errors: faulty texts", test_faulty_texts);
    check_run("errors: mutated shards", test_mutated_shards);
    folder_end();
    return check_summary();
}
