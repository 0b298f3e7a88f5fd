#include "base/random.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "files/files.h"
#include "files/safetensors.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[96]; /* of the one file that most tests write */

static void write_raw(const void *data, size_t size)
{
    FILE *to = fopen(path, "wb");
    check(to && fwrite(data, 1, size, to) == size && fclose(to) == 0, "%s: cannot be written", path);
}

/* A file with this header, its length before it, and data_size zero bytes after it. Returns the file's size. */
static size_t compose(char *out, const char *header, size_t data_size)
{
    const uint64_t length = strlen(header);
    memcpy(out, &length, 8);
    memcpy(out + 8, header, length);
    memset(out + 8 + length, 0, data_size);
    return 8 + length + data_size;
}

/* Opens `path`, which must be refused with these words and with its name. */
static void check_refused(const char *words, const char *what)
{
    Error e = {"accepted"};
    Safetensors *file = NULL;
    const int status = safetensors_open(path, &file, &e);
    check(status == -1 && strstr(e.text, words), "%s: got \"%s\", want \"%s\"", what, e.text, words);
    check(status == 0 || strncmp(e.text, path, strlen(path)) == 0, "\"%s\" does not name the file", e.text);
    if (status == 0)
        safetensors_close(file);
}

/* --- reading what was written --- */

static const SafetensorsSpec specs[] = {
    {"wte.weight", DTYPE_F32, 2, {7, 3}}, {"h.0.\"odd\"\n\xc3\xa9", DTYPE_I32, 1, {5}},
    {"empty", DTYPE_F32, 3, {2, 0, 4}},   {"scalar", DTYPE_F64, 0, {0}},
    {"bytes", DTYPE_U8, 1, {3}},          {"deep", DTYPE_U16, SAFETENSORS_MAX_RANK, {1, 1, 1, 1, 2, 1, 1, 1}},
};
enum { SPECS = sizeof specs / sizeof specs[0], SPEC_BYTES = 84 + 20 + 0 + 8 + 3 + 4 };
static const char *const pairs[][2] = {{"format", "pt"}, {"step", "10"}, {"note", "a \"quote\"\n"}};

/* Writes specs with the bytes seed, seed+1, ... in pieces of `piece` bytes. */
static int write_specs(size_t piece, unsigned char seed, Error *e)
{
    unsigned char data[SPEC_BYTES];
    uint64_t hash, found;
    SafetensorsWriter *writer;
    for (size_t i = 0; i < SPEC_BYTES; i++)
        data[i] = (unsigned char)(seed + i);
    if (safetensors_create(path, specs, SPECS, pairs, 3, &writer, e) != 0)
        return -1;
    for (size_t i = 0; i < SPEC_BYTES; i += piece) {
        if (safetensors_append(writer, data + i, i + piece < SPEC_BYTES ? piece : SPEC_BYTES - i, e) != 0) {
            safetensors_abandon(writer);
            return -1;
        }
    }
    if (safetensors_finish(writer, &hash, e) != 0)
        return -1;
    check(files_hash(path, &found, e) == 0 && found == hash, "the file has another hash than was reported");
    return 0;
}

static void check_entry(const Safetensors *file, size_t i)
{
    const SafetensorsEntry *entry = safetensors_find(file, specs[i].name);
    if (!check(entry != NULL, "%s is not found", specs[i].name))
        return;
    size_t count = 1;
    for (size_t k = 0; k < specs[i].rank; k++)
        count *= specs[i].shape[k];
    check(entry->dtype == specs[i].dtype && entry->rank == specs[i].rank, "%s: dtype or rank", specs[i].name);
    check_same_bits(entry->shape, specs[i].shape, sizeof entry->shape, specs[i].name);
    check(entry->count == count, "%s: %zu elements", specs[i].name, entry->count);
    check(entry->end - entry->begin == count * dtype_size(entry->dtype), "%s: bytes", specs[i].name);
}

static void test_round_trip(void)
{
    for (size_t piece = 1; piece <= SPEC_BYTES; piece += 59) {
        Error e = {""};
        Safetensors *file;
        if (!check(write_specs(piece, 7, &e) == 0, "%s", e.text) ||
            !check(safetensors_open(path, &file, &e) == 0, "%s", e.text))
            return;
        check(safetensors_count(file) == SPECS, "got %zu tensors", safetensors_count(file));
        check(safetensors_entry(file, 0)->begin % 8 == 0, "data at %zu", safetensors_entry(file, 0)->begin);
        for (size_t i = 0; i < SPECS; i++)
            check_entry(file, i);
        for (size_t i = 0; i < 3; i++) {
            const char *value = safetensors_metadata(file, pairs[i][0]);
            check(value && strcmp(value, pairs[i][1]) == 0, "metadata %s: %s", pairs[i][0], value ? value : "NULL");
        }
        check(!safetensors_metadata(file, "absent") && !safetensors_find(file, "absent"), "what is absent");
        check(!safetensors_find(file, "__metadata__"), "the metadata is no tensor");
        unsigned char want[84];
        float got[21] = {0};
        int32_t integers[5] = {0}, want_integers[5];
        for (size_t i = 0; i < sizeof want; i++)
            want[i] = (unsigned char)(7 + i);
        check(safetensors_read_f32(file, safetensors_find(file, "wte.weight"), got, &e) == 0, "%s", e.text);
        check_same_bits(got, want, sizeof want, "wte.weight");
        for (size_t i = 0; i < sizeof want_integers; i++)
            ((unsigned char *)want_integers)[i] = (unsigned char)(7 + 84 + i);
        check(safetensors_read_i32(file, safetensors_find(file, specs[1].name), integers, &e) == 0, "%s", e.text);
        check_same_bits(integers, want_integers, sizeof integers, "integers");
        safetensors_close(file);
    }
}

static void test_no_tensors(void)
{
    Error e = {""};
    SafetensorsWriter *writer;
    Safetensors *file;
    if (!check(safetensors_create(path, NULL, 0, NULL, 0, &writer, &e) == 0, "%s", e.text) ||
        !check(safetensors_finish(writer, NULL, &e) == 0, "%s", e.text) ||
        !check(safetensors_open(path, &file, &e) == 0, "%s", e.text))
        return;
    check(safetensors_count(file) == 0 && !safetensors_find(file, ""), "an empty file has no tensors");
    check(!safetensors_metadata(file, "format"), "nor metadata");
    safetensors_close(file);
}

/* Writes one tensor, opens it and hands out its entry; NULL on failure. */
static Safetensors *open_one(Dtype dtype, const void *data, size_t count, const SafetensorsEntry **entry)
{
    const SafetensorsSpec spec = {"x", dtype, 1, {count}};
    Error e = {""};
    SafetensorsWriter *writer;
    Safetensors *file = NULL;
    if (!check(safetensors_create(path, &spec, 1, NULL, 0, &writer, &e) == 0, "%s", e.text))
        return NULL;
    check(safetensors_append(writer, data, count * dtype_size(dtype), &e) == 0, "%s", e.text);
    if (!check(safetensors_finish(writer, NULL, &e) == 0, "%s", e.text) ||
        !check(safetensors_open(path, &file, &e) == 0, "%s", e.text))
        return NULL;
    *entry = safetensors_find(file, "x");
    return file;
}

/* The value of a 16-bit float by its definition: sign, exponent field, `bits` mantissa bits. */
static double value_of(unsigned code, int bits)
{
    const int exponent = (int)(code & 0x7fff) >> bits, mantissa = (int)code & ((1 << bits) - 1);
    const int largest = (1 << (15 - bits)) - 1, bias = largest / 2;
    double value;
    if (exponent == largest)
        value = mantissa == 0 ? (double)INFINITY : (double)NAN;
    else
        value = ldexp(exponent == 0 ? mantissa : (1 << bits) + mantissa, (exponent > 0 ? exponent : 1) - bias - bits);
    return code & 0x8000 ? -value : value;
}

static void check_widening(Dtype dtype, int bits)
{
    static uint16_t codes[65536];
    static float got[65536];
    const SafetensorsEntry *entry;
    Error e = {""};
    for (unsigned code = 0; code < 65536; code++)
        codes[code] = (uint16_t)code;
    Safetensors *file = open_one(dtype, codes, 65536, &entry);
    if (!file)
        return;
    check(safetensors_read_f32(file, entry, got, &e) == 0, "%s", e.text);
    safetensors_close(file);
    for (unsigned code = 0; code < 65536; code++) {
        const double want = value_of(code, bits), have = (double)got[code];
        const bool same = isnan(want) ? isnan(have) : have == want;
        check(same && !signbit(have) == !(code & 0x8000), "%s %04x: got %a, want %a", dtype_name(dtype), code, have,
              want);
        uint32_t word;
        memcpy(&word, &got[code], sizeof word);
        if (isnan(want)) /* the mantissa moves to the top of the longer one */
            check((word & 0x7fffff) == (code & ((1u << bits) - 1)) << (23 - bits), "payload of NaN %04x", code);
    }
}

static void test_f16(void) { check_widening(DTYPE_F16, 10); }

static void test_bf16(void) { check_widening(DTYPE_BF16, 7); }

/* Parts, on both sides of the reader's chunks, hold the same as the whole. */
static void test_parts(void)
{
    enum { N = 20000 };
    static float data[N], got[N];
    static const size_t parts[][2] = {{0, 0}, {0, 1}, {N, 0}, {N - 1, 1}, {8191, 2}, {1, N - 1}, {8192, 8192}};
    const SafetensorsEntry *entry;
    Error e = {""};
    Random random = random_make(3, 0);
    for (size_t i = 0; i < N; i++)
        data[i] = (float)random_normal(&random);
    Safetensors *file = open_one(DTYPE_F32, data, N, &entry);
    if (!file)
        return;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const size_t first = parts[i][0], count = parts[i][1];
        memset(got, 0, sizeof got);
        check(safetensors_read_f32_part(file, entry, first, count, got, &e) == 0, "%s", e.text);
        check_same_bits(got, data + first, count * sizeof *got, "a part");
    }
    check(safetensors_read_f32_part(file, entry, N, 1, got, &e) == -1 && strstr(e.text, "are asked for"), "past");
    e.text[0] = '\0';
    check(safetensors_read_f32_part(file, entry, 1, SIZE_MAX, got, &e) == -1 && strstr(e.text, "are asked for"),
          "a count that overflows: %s", e.text);
    safetensors_close(file);
}

static void check_integers(Dtype dtype, const void *data, size_t count, const int32_t *want)
{
    const SafetensorsEntry *entry;
    int32_t got[4] = {0};
    float floats[4];
    Error e = {"accepted"};
    Safetensors *file = open_one(dtype, data, count, &entry);
    if (!file)
        return;
    if (want) {
        check(safetensors_read_i32(file, entry, got, &e) == 0, "%s: %s", dtype_name(dtype), e.text);
        check_same_bits(got, want, count * sizeof *got, dtype_name(dtype));
        check(safetensors_read_f32(file, entry, floats, &e) == -1 && strstr(e.text, "F32, F16 or BF16 is needed"),
              "%s as floats: %s", dtype_name(dtype), e.text);
    } else {
        check(safetensors_read_i32(file, entry, got, &e) == -1, "%s: %s", dtype_name(dtype), e.text);
    }
    safetensors_close(file);
}

static void test_integers(void)
{
    const int32_t i32[] = {0, -1, INT32_MIN, INT32_MAX};
    const int64_t i64[] = {0, -1, INT32_MIN, INT32_MAX}, above[] = {INT32_MAX + (int64_t)1},
                  below[] = {INT32_MIN - (int64_t)1};
    const uint16_t u16[] = {0, 1, 50256, 65535};
    check_integers(DTYPE_I32, i32, 4, i32);
    check_integers(DTYPE_I64, i64, 4, i32);
    check_integers(DTYPE_U16, u16, 4, (const int32_t[]){0, 1, 50256, 65535});
    check_integers(DTYPE_I64, above, 1, NULL);
    check_integers(DTYPE_I64, below, 1, NULL);
    check_integers(DTYPE_F32, i32, 1, NULL);
}

static void test_shrinks(void)
{
    const float data[4] = {1, 2, 3, 4};
    float got[4];
    const SafetensorsEntry *entry;
    Error e = {"read"};
    Safetensors *file = open_one(DTYPE_F32, data, 4, &entry);
    if (!file)
        return;
    check(truncate(path, (off_t)entry->end - 1) == 0, "truncate");
    check(safetensors_read_f32(file, entry, got, &e) == -1 && strstr(e.text, "has become shorter"), "%s", e.text);
    check(strstr(e.text, path) != NULL, "\"%s\" does not name the file", e.text);
    safetensors_close(file);
}

/* --- malformed files --- */

#define F32_2 "\"dtype\":\"F32\",\"shape\":[2]"

static const struct {
    const char *header;
    size_t data_size;
    const char *words; /* of the message */
} malformed[] = {
    {"", 0, "does not begin with {"},
    {" {}", 0, "does not begin with {"},
    {"[]", 0, "does not begin with {"},
    {"\"x\"", 0, "does not begin with {"},
    {"{", 0, "is not valid JSON: line 1, column 2"},
    {"{} x", 0, "is not valid JSON: line 1, column 4: something follows"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,8]},\"x\":{" F32_2 ",\"data_offsets\":[8,16]}}", 16, "key \"x\" twice"},
    {"{\"x\":{" F32_2 ",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "key \"shape\" twice"},
    {"{\"x\":[]}", 0, "\"x\" is not described by an object"},
    {"{\"a\\nb\":1}", 0, "\"a\\x0ab\" is not described by an object"},
    {"{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"x\" has no dtype"},
    {"{\"x\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"x\" has no dtype"},
    {"{\"x\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype \"F31\""},
    {"{\"x\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype \"f32\""},
    {"{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "\"x\" has no shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "\"x\" has no shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8, "9 dimensions"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "\"x\" has -2 in its shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "has 2.0 in its shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2e0],\"data_offsets\":[0,8]}}", 8, "has 2e0 in its shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8, "something else in its shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,0]}}", 0, "6 in its shape"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "overflows"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "overflows"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "has 8 bytes of data, but its shape"},
    {"{\"x\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype F16 need 4"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,8]}}", 8, "need 0"},
    {"{\"x\":{" F32_2 "}}", 8, "no pair of data_offsets"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":8}}", 8, "no pair of data_offsets"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[8]}}", 8, "no pair of data_offsets"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,8,8]}}", 8, "no pair of data_offsets"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[-8,0]}}", 8, "has -8 in its data_offsets"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,8.5]}}", 8, "has 8.5 in its data_offsets"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,1e1]}}", 8, "has 1e1 in its data_offsets"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[18446744073709551608,18446744073709551616]}}", 8, "in its data_offsets"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[18446744073709551607,18446744073709551615]}}", 8, "leaves a hole"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[8,0]}}", 8, "ends at 0 before it begins at 8"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,8]},\"y\":{" F32_2 ",\"data_offsets\":[4,12]}}", 12, "\"y\" begins at 4"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,8]},\"y\":{" F32_2 ",\"data_offsets\":[0,8]}}", 8, "overlaps"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,8]},\"y\":{" F32_2 ",\"data_offsets\":[9,17]}}", 17, "a hole after 8"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[1,9]}}", 9, "a hole after 0"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,8]}}", 7, "ends at 8, past the end of the data, 7 bytes"},
    {"{\"x\":{" F32_2 ",\"data_offsets\":[0,8]}}", 9, "1 bytes after the last tensor"},
    {"{}", 1, "1 bytes after the last tensor"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":null}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"step\":10}}", 0, "__metadata__ holds a value that is not a string"},
    {"{\"__metadata__\":{\"a\":{}}}", 0, "__metadata__ holds a value that is not a string"},
    {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "key \"a\" twice"},
};

static void test_malformed(void)
{
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        char data[512];
        write_raw(data, compose(data, malformed[i].header, malformed[i].data_size));
        check_refused(malformed[i].words, malformed[i].header);
    }
}

static void test_bad_prefix(void)
{
    char data[64] = {0};
    uint64_t length = 3;
    write_raw("", 0);
    check_refused("has 0 bytes, too short", "an empty file");
    write_raw("1234567", 7);
    check_refused("has 7 bytes, too short", "7 bytes");
    const size_t size = compose(data, "{}", 0);
    memcpy(data, &length, 8);
    write_raw(data, size);
    check_refused("announces a header of 3 bytes, beyond the end of the file, 10 bytes", "a long header");
    memset(data, 0xff, 8);
    write_raw(data, size);
    check_refused("announces a header of 18446744073709551615 bytes, more than the limit", "a huge header");
    length = SAFETENSORS_MAX_HEADER + 1;
    memcpy(data, &length, 8);
    write_raw(data, size);
    check(truncate(path, SAFETENSORS_MAX_HEADER + 100) == 0, "truncate");
    check_refused("announces a header of 16777217 bytes, more than the limit of 16777216", "a header over 16 MiB");
    write_raw("a text file, say a README", 25);
    check_refused("more than the limit", "a text file");
    unlink(path);
    check_refused("cannot be opened", "no file");
    check(mkdir(path, 0777) == 0, "mkdir");
    check_refused("is not a regular file", "a directory");
    rmdir(path);
}

/* Header order is free and unknown members are ignored, as in the reference reader; entries come in file order. */
static void test_lenient(void)
{
    char data[512];
    Error e = {""};
    Safetensors *file;
    const char *const header = "{\"y\":{" F32_2 ",\"data_offsets\":[8,16],\"more\":[1]},"
                               "\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[8,8]},"
                               "\"x\":{" F32_2 ",\"data_offsets\":[0,8]}}  ";
    write_raw(data, compose(data, header, 16));
    if (!check(safetensors_open(path, &file, &e) == 0, "%s", e.text))
        return;
    const char *const order[] = {"x", "b", "y"};
    for (size_t i = 0; i < 3; i++)
        check(strcmp(safetensors_entry(file, i)->name, order[i]) == 0, "entry %zu: %s", i,
              safetensors_entry(file, i)->name);
    safetensors_close(file);
}

/* Everything in an opened file can be read, and covers it. */
static void read_everything(Safetensors *file)
{
    static float floats[256];
    static int32_t integers[256];
    size_t bytes = 0;
    Error e;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const SafetensorsEntry *entry = safetensors_entry(file, i);
        bytes += entry->end - entry->begin;
        check(bytes <= 256, "more data than the file has");
        check(safetensors_find(file, entry->name) == entry, "%s is not found", entry->name);
        const bool real = entry->dtype == DTYPE_F32 || entry->dtype == DTYPE_F16 || entry->dtype == DTYPE_BF16;
        check((safetensors_read_f32(file, entry, floats, &e) == 0) == real, "%s", e.text);
        safetensors_read_i32(file, entry, integers, &e);
    }
    safetensors_metadata(file, "format");
}

/* One edit of a file in memory, with room for 8 bytes more. Returns the new size. */
static size_t mutate(Random *random, char *data, size_t size)
{
    static const char alphabet[] = "{}[]\",:0123456789-.eEFIUB\\u ";
    const size_t at = random_below(random, size), left = size - at;
    const size_t some = 1 + random_below(random, left < 8 ? left : 8);
    switch (random_below(random, 6)) {
    case 0:
        data[at] = (char)random_u64(random);
        return size;
    case 1:
        return at;
    case 2: /* leaves some bytes out */
        memmove(data + at, data + at + some, left - some);
        return size - some;
    case 3: /* doubles some bytes */
        memmove(data + at + some, data + at, left);
        return size + some;
    default:
        data[at] = alphabet[random_below(random, sizeof alphabet - 1)];
        return size;
    }
}

static void test_mutants(void)
{
    char original[1024], data[1024];
    Error e = {""};
    Random random = random_make(4, 0);
    size_t accepted = 0;
    if (!check(write_specs(SPEC_BYTES, 0, &e) == 0, "%s", e.text))
        return;
    FILE *from = fopen(path, "rb");
    const size_t size = fread(original, 1, sizeof original, from);
    fclose(from);
    for (int round = 0; round < 5000; round++) {
        memcpy(data, original, size);
        size_t mutant = size;
        for (uint64_t edits = 1 + random_below(&random, 3); edits > 0 && mutant > 0; edits--)
            mutant = mutate(&random, data, mutant);
        const uint64_t length = mutant > 8 + SPEC_BYTES ? mutant - 8 - SPEC_BYTES : 0;
        if (round % 2 == 0 && mutant >= 8) /* most edits would only break the length */
            memcpy(data, &length, 8);
        write_raw(data, mutant);
        Safetensors *file;
        if (safetensors_open(path, &file, &e) == 0) {
            read_everything(file);
            safetensors_close(file);
            accepted++;
        } else {
            check(strncmp(e.text, path, strlen(path)) == 0, "\"%s\" does not name the file", e.text);
        }
    }
    check(accepted > 100 && accepted < 4900, "%zu of 5000 mutants were accepted: the test sees too little", accepted);
}

/* --- failing to write --- */

/* `path` holds what write_specs(.., seed, ..) wrote, and nothing is left beside it. */
static void check_untouched(unsigned char seed)
{
    char temporary[128];
    Error e = {""};
    Safetensors *file;
    float got[21];
    if (!check(safetensors_open(path, &file, &e) == 0, "the old file is damaged: %s", e.text))
        return;
    check(safetensors_read_f32(file, safetensors_entry(file, 0), got, &e) == 0, "%s", e.text);
    check(*(unsigned char *)got == seed, "the old file has new content");
    safetensors_close(file);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    check(!exists(temporary), "%s is still there", temporary);
}

static void test_replaces(void)
{
    Error e = {""};
    SafetensorsWriter *writer;
    check(write_specs(10, 1, &e) == 0, "%s", e.text);
    check_untouched(1);
    check(safetensors_create(path, specs, SPECS, NULL, 0, &writer, &e) == 0, "%s", e.text);
    safetensors_abandon(writer);
    check_untouched(1);
    check(write_specs(10, 2, &e) == 0, "%s", e.text);
    check_untouched(2);
    safetensors_abandon(NULL);
    safetensors_close(NULL);
}

static void test_wrong_amount(void)
{
    const char data[SPEC_BYTES + 1] = {0};
    Error e = {""};
    SafetensorsWriter *writer;
    check(write_specs(10, 1, &e) == 0, "%s", e.text);
    check(safetensors_create(path, specs, SPECS, NULL, 0, &writer, &e) == 0, "%s", e.text);
    check(safetensors_append(writer, data, SPEC_BYTES - 1, &e) == 0, "%s", e.text);
    check(safetensors_finish(writer, NULL, &e) == -1 &&
              strstr(e.text, "got 118 bytes of data, but its tensors hold 119"),
          "too little: %s", e.text);
    check_untouched(1);
    check(safetensors_create(path, specs, SPECS, NULL, 0, &writer, &e) == 0, "%s", e.text);
    check(safetensors_append(writer, data, 1, &e) == 0, "%s", e.text);
    check(safetensors_append(writer, data, SPEC_BYTES, &e) == -1, "too much data is accepted");
    check(strstr(e.text, "got more data than its tensors hold"), "too much: %s", e.text);
    check(strstr(e.text, path) != NULL, "\"%s\" does not name the file", e.text);
    safetensors_abandon(writer);
    check_untouched(1);
}

static void check_not_created(const SafetensorsSpec *bad, size_t count, const char *words)
{
    Error e = {"accepted"};
    SafetensorsWriter *writer;
    check(safetensors_create(path, bad, count, NULL, 0, &writer, &e) == -1 && strstr(e.text, words),
          "got \"%s\", want \"%s\"", e.text, words);
}

static void test_bad_specs(void)
{
    const SafetensorsSpec twice[] = {{"x", DTYPE_F32, 0, {0}}, {"x", DTYPE_F32, 0, {0}}};
    const SafetensorsSpec reserved = {"__metadata__", DTYPE_F32, 0, {0}};
    const SafetensorsSpec deep = {"x", DTYPE_F32, 9, {0}};
    const SafetensorsSpec huge = {"x", DTYPE_F32, 2, {SIZE_MAX / 4, 2}};
    const SafetensorsSpec sum[] = {{"x", DTYPE_U8, 1, {SIZE_MAX}}, {"y", DTYPE_U8, 1, {1}}};
    Error e = {""};
    check(write_specs(10, 1, &e) == 0, "%s", e.text);
    check_not_created(twice, 2, "key \"x\" twice");
    check_not_created(&reserved, 1, "__metadata__ holds");
    check_not_created(&deep, 1, "9 dimensions");
    check_not_created(&huge, 1, "overflows");
    check_not_created(sum, 2, "\"y\" has a shape whose size overflows");
    check_untouched(1);
}

/* From here on no file may grow past `limit` bytes: writing more fails with EFBIG. Returns the limit so far. */
static rlim_t limit_files(rlim_t limit)
{
    struct rlimit files;
    getrlimit(RLIMIT_FSIZE, &files);
    const rlim_t before = files.rlim_cur;
    files.rlim_cur = limit;
    setrlimit(RLIMIT_FSIZE, &files);
    return before;
}

static void test_file_too_large(void)
{
    Error e = {""};
    struct stat whole;
    check(write_specs(10, 1, &e) == 0, "%s", e.text);
    check(stat(path, &whole) == 0, "stat");
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (off_t limit = 0; limit < whole.st_size; limit += 41) {
        const rlim_t before = limit_files((rlim_t)limit);
        const int status = write_specs(10, 2, &e);
        limit_files(before);
        check(status == -1 && strstr(e.text, "File too large"), "limit %d: %s", (int)limit, e.text);
        check(strncmp(e.text, path, strlen(path)) == 0, "\"%s\" does not name the file", e.text);
        check_untouched(1);
    }
    signal(SIGXFSZ, handler);
}

/* Once an append has failed the file has a hole: it cannot be finished, even when there is room again. */
static void test_room_again(void)
{
    static const char big[1 << 20]; /* larger than any buffer: the append itself fails */
    const SafetensorsSpec spec = {"x", DTYPE_U8, 1, {sizeof big}};
    SafetensorsWriter *writer;
    Error e = {""};
    check(write_specs(10, 1, &e) == 0, "%s", e.text);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    check(safetensors_create(path, &spec, 1, NULL, 0, &writer, &e) == 0, "%s", e.text);
    const rlim_t before = limit_files(0);
    const int status = safetensors_append(writer, big, sizeof big, &e);
    limit_files(before);
    signal(SIGXFSZ, handler);
    check(status == -1 && strstr(e.text, "File too large"), "append: %s", e.text);
    check(safetensors_finish(writer, NULL, &e) == -1 && strstr(e.text, "an earlier write failed"), "finish: %s",
          e.text);
    check_untouched(1);
}

static void test_nowhere(void)
{
    Error e = {""};
    SafetensorsWriter *writer;
    char nowhere[128];
    check(safetensors_create(in_folder("no/such/x", nowhere), specs, SPECS, NULL, 0, &writer, &e) == -1 &&
              strstr(e.text, nowhere),
          "%s", e.text);
}

int main(void)
{
    if (!folder_begin("test_safetensors"))
        return 1;
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    check_run("round trip", test_round_trip);
    check_run("no tensors", test_no_tensors);
    check_run("every F16", test_f16);
    check_run("every BF16", test_bf16);
    check_run("parts of a tensor", test_parts);
    check_run("integers", test_integers);
    check_run("a file that shrinks", test_shrinks);
    check_run("malformed headers", test_malformed);
    check_run("malformed lengths", test_bad_prefix);
    check_run("unusual but valid headers", test_lenient);
    check_run("mutants", test_mutants);
    check_run("replaces the old file or leaves it", test_replaces);
    check_run("too much or too little data", test_wrong_amount);
    check_run("tensors that cannot be written", test_bad_specs);
    check_run("a file larger than allowed", test_file_too_large);
    check_run("a disk that was full", test_room_again);
    check_run("a folder that is not there", test_nowhere);
    folder_end();
    return check_summary();
}
