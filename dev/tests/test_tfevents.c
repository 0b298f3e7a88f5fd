/* TensorBoard's event files, read back by a decoder of their two formats that shares nothing with their writer. */
#include "base/crc32c.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "files/tfevents.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* RFC 3720, B.4. */
static void test_known_checksums(void)
{
    unsigned char zeros[32], ones[32], up[32], down[32];
    static const unsigned char read_command[48] = {
        0x01, 0xc0, [17] = 0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
    memset(zeros, 0, sizeof zeros);
    memset(ones, 0xff, sizeof ones);
    for (unsigned i = 0; i < 32; i++) {
        up[i] = (unsigned char)i;
        down[i] = (unsigned char)(31 - i);
    }
    check(crc32c(zeros, 32) == 0x8a9136aa, "32 zeros: %08x", crc32c(zeros, 32));
    check(crc32c(ones, 32) == 0x62a8ab43, "32 of 0xff: %08x", crc32c(ones, 32));
    check(crc32c(up, 32) == 0x46dd794e, "0 to 31: %08x", crc32c(up, 32));
    check(crc32c(down, 32) == 0x113fdb5c, "31 to 0: %08x", crc32c(down, 32));
    check(crc32c(read_command, 48) == 0xd9963a56, "a read command: %08x", crc32c(read_command, 48));
    check(crc32c("123456789", 9) == 0xe3069283, "the usual nine digits: %08x", crc32c("123456789", 9));
    check(crc32c(NULL, 0) == 0, "no bytes: %08x", crc32c(NULL, 0));
}

/* --- a decoder --- */

enum { EVENTS_MOST = 16, VALUES_MOST = TFEVENTS_SCALARS_MOST };

typedef struct Event {
    double wall_time;
    uint64_t step;
    char version[32];
    int session; /* the session's status; 0: no session log */
    size_t values;
    char tags[VALUES_MOST][TFEVENTS_TAG_MOST + 1];
    float value[VALUES_MOST];
} Event;

typedef struct Bytes {
    const unsigned char *at, *end;
} Bytes;

/* A field of a message: its number, and its value as an integer or as bytes. */
typedef struct Field {
    unsigned number, wire;
    uint64_t integer;
    Bytes bytes;
} Field;

static uint64_t little(const unsigned char *at, size_t bytes)
{
    return bytes == 0 ? 0 : little(at + 1, bytes - 1) << 8 | at[0];
}

static uint64_t varint(Bytes *b)
{
    uint64_t value = 0;
    for (unsigned shift = 0; b->at < b->end && shift < 64; shift += 7) {
        const unsigned char c = *b->at++;
        value += (uint64_t)(c % 128) << shift;
        if (c < 128)
            return value;
    }
    check(false, "a varint without an end");
    return value;
}

static bool next_field(Bytes *b, Field *f)
{
    if (b->at >= b->end)
        return false;
    const uint64_t key = varint(b);
    *f = (Field){.number = (unsigned)(key / 8), .wire = (unsigned)(key % 8)};
    const size_t left = (size_t)(b->end - b->at), fixed = f->wire == 1 ? 8 : 4;
    switch (f->wire) {
    case 0:
        f->integer = varint(b);
        return true;
    case 1:
    case 5:
        if (!check(left >= fixed, "a number of %zu bytes in %zu", fixed, left))
            return false;
        f->integer = little(b->at, fixed);
        b->at += fixed;
        return true;
    case 2:
        f->integer = varint(b);
        if (!check(f->integer <= (uint64_t)(b->end - b->at), "a field longer than its message"))
            return false;
        f->bytes = (Bytes){b->at, b->at + f->integer};
        b->at += f->integer;
        return true;
    default:
        return check(false, "wire type %u", f->wire);
    }
}

static void copy_text(Bytes b, char *text, size_t size)
{
    const size_t n = (size_t)(b.end - b.at);
    if (check(n < size, "a text of %zu bytes", n))
        memcpy(text, b.at, n);
}

static void decode_value(Bytes b, Event *event)
{
    const size_t i = event->values++;
    for (Field f; next_field(&b, &f);) {
        if (f.number == 1 && f.wire == 2)
            copy_text(f.bytes, event->tags[i], sizeof event->tags[i]);
        else if (check(f.number == 2 && f.wire == 5, "a value has field %u of wire type %u", f.number, f.wire))
            memcpy(&event->value[i], &(uint32_t){(uint32_t)f.integer}, 4);
    }
}

static void decode_event(Bytes b, Event *event)
{
    Field inner;
    *event = (Event){.values = 0};
    for (Field f; next_field(&b, &f);) {
        if (f.number == 1 && f.wire == 1)
            memcpy(&event->wall_time, &f.integer, 8);
        else if (f.number == 2 && f.wire == 0)
            event->step = f.integer;
        else if (f.number == 3 && f.wire == 2)
            copy_text(f.bytes, event->version, sizeof event->version);
        else if (f.number == 5 && f.wire == 2)
            while (next_field(&f.bytes, &inner) && event->values < VALUES_MOST &&
                   check(inner.number == 1 && inner.wire == 2, "a summary has field %u", inner.number))
                decode_value(inner.bytes, event);
        else if (check(f.number == 7 && f.wire == 2, "an event has field %u of wire type %u", f.number, f.wire))
            while (next_field(&f.bytes, &inner))
                event->session =
                    check(inner.number == 1, "a session has field %u", inner.number) ? (int)inner.integer : -1;
    }
}

/* TFRecord's checksum in `field` is of these bytes. */
static bool sums_to(const unsigned char *data, size_t size, const unsigned char *field)
{
    const uint32_t rotated = (uint32_t)little(field, 4) - 0xa282ead8u;
    return (rotated << 15 | rotated >> 17) == crc32c(data, size);
}

/* Decodes a file, whole records of it; returns how many, and in *rest the bytes after them. */
static size_t decode(const char *path, Event events[EVENTS_MOST], size_t *rest)
{
    static unsigned char data[1 << 16];
    FILE *file = fopen(path, "rb");
    const size_t size = file != NULL ? fread(data, 1, sizeof data, file) : 0;
    size_t at = 0, n = 0;
    check(file != NULL, "%s cannot be read", path);
    if (file != NULL)
        fclose(file);
    while (size - at >= 12 && n < EVENTS_MOST) {
        const uint64_t length = little(data + at, 8);
        if (!check(sums_to(data + at, 8, data + at + 8), "record %zu: the length's checksum", n))
            break;
        if (size - at < 16 + length)
            break;
        check(sums_to(data + at + 12, length, data + at + 12 + length), "record %zu: its checksum", n);
        decode_event((Bytes){data + at + 12, data + at + 12 + length}, &events[n++]);
        at += 16 + length;
    }
    *rest = size - at;
    return n;
}

/* --- the files --- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(int status, const Error *e) { check(status == 0, "%s", e->text); }

/* Steps and values whose encodings differ in length or sign. */
static void test_events(void)
{
    static const uint64_t steps[] = {0, 1, 127, 128, 300, 1 << 14, (1ull << 40) + 5};
    static Event events[EVENTS_MOST];
    enum { STEPS = sizeof steps / sizeof *steps };
    char path[256];
    size_t rest;
    TfEvents t;
    Error e;
    const double begin = now();
    must(tfevents_open(&t, folder, &e), &e);
    snprintf(path, sizeof path, "%s", t.path);
    for (size_t i = 0; i < STEPS; i++) {
        const TfScalar scalars[] = {{"train/loss", 1.5 + (double)i}, {"lr", -3e-39}, {"x", 1e30}};
        must(tfevents_write(&t, steps[i], scalars, i % 4, &e), &e);
        check(decode(path, events, &rest) == i + 2 && rest == 0, "step %zu is not in the file at once", i);
    }
    must(tfevents_restart(&t, 301, &e), &e);
    must(tfevents_sync(&t, &e), &e);
    must(tfevents_close(&t, &e), &e);
    check(decode(path, events, &rest) == STEPS + 2 && rest == 0, "records");
    check(strcmp(events[0].version, "brain.Event:2") == 0 && events[0].step == 0, "version %s", events[0].version);
    double last = begin;
    for (size_t i = 0; i < STEPS + 2; i++) {
        check(events[i].wall_time >= last - 1e-6 && events[i].wall_time <= now(), "event %zu: time %.6f", i,
              events[i].wall_time);
        last = events[i].wall_time;
    }
    for (size_t i = 0; i < STEPS; i++) {
        const Event *event = &events[i + 1];
        check(event->step == steps[i] && event->values == i % 4 && event->session == 0, "event %zu", i);
        if (event->values > 0)
            check(strcmp(event->tags[0], "train/loss") == 0 && event->value[0] == 1.5f + (float)i, "event %zu: loss",
                  i);
        if (event->values > 2)
            check(strcmp(event->tags[1], "lr") == 0 && event->value[1] == -3e-39f && event->value[2] == 1e30f, "lr, x");
    }
    check(events[STEPS + 1].session == 1 && events[STEPS + 1].step == 301 && events[STEPS + 1].values == 0, "a start");
}

/* The first bytes of every file that TensorFlow itself writes: 24 bytes follow, and the checksum of that. */
static void test_first_bytes(void)
{
    static const unsigned char known[12] = {0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22};
    unsigned char got[12] = {0};
    TfEvents t;
    Error e;
    must(tfevents_open(&t, folder, &e), &e);
    FILE *file = fopen(t.path, "rb");
    if (check(file != NULL && fread(got, 1, sizeof got, file) == sizeof got, "%s is too short", t.path))
        check_same_bits(got, known, sizeof known, "the first bytes");
    if (file != NULL)
        fclose(file);
    tfevents_close(&t, &e);
}

/* As many scalars as there may be, with the longest tags. */
static void test_full_event(void)
{
    static Event events[EVENTS_MOST];
    static char tags[TFEVENTS_SCALARS_MOST][TFEVENTS_TAG_MOST + 1];
    TfScalar scalars[TFEVENTS_SCALARS_MOST];
    char path[256];
    size_t rest;
    TfEvents t;
    Error e;
    for (size_t i = 0; i < TFEVENTS_SCALARS_MOST; i++) {
        memset(tags[i], (int)('A' + i), TFEVENTS_TAG_MOST);
        scalars[i] = (TfScalar){tags[i], (double)i};
    }
    must(tfevents_open(&t, folder, &e), &e);
    snprintf(path, sizeof path, "%s", t.path);
    must(tfevents_write(&t, UINT64_MAX, scalars, TFEVENTS_SCALARS_MOST, &e), &e);
    must(tfevents_close(&t, &e), &e);
    if (!check(decode(path, events, &rest) == 2 && rest == 0 && events[1].values == TFEVENTS_SCALARS_MOST, "records"))
        return;
    check(events[1].step == UINT64_MAX, "the step");
    for (size_t i = 0; i < TFEVENTS_SCALARS_MOST; i++)
        check(strcmp(events[1].tags[i], tags[i]) == 0 && events[1].value[i] == (float)i, "scalar %zu", i);
}

/* Cut anywhere, as kill -9 or a full disk would: the records before it are whole. */
static void test_cut(void)
{
    static Event events[EVENTS_MOST];
    char path[256];
    size_t rest, whole[3];
    struct stat info;
    TfEvents t;
    Error e;
    must(tfevents_open(&t, folder, &e), &e);
    snprintf(path, sizeof path, "%s", t.path);
    for (size_t i = 0; i < 3; i++) {
        check(stat(path, &info) == 0, "%s is gone", path);
        whole[i] = (size_t)info.st_size;
        must(tfevents_write(&t, i, &(TfScalar){"a", 1}, 1, &e), &e);
    }
    tfevents_close(&t, &e);
    check(stat(path, &info) == 0, "%s is gone", path);
    for (size_t size = (size_t)info.st_size - 1; size > whole[0]; size--) {
        check(truncate(path, (off_t)size) == 0, "cannot be cut");
        const size_t want = size >= whole[2] ? 3 : size >= whole[1] ? 2 : 1, got = decode(path, events, &rest);
        check(got == want, "of %zu bytes %zu records are left instead of %zu", size, got, want);
    }
}

/* In the order of their names the files of a directory are in the order of time, whatever the clock says. */
static void test_names(void)
{
    char directory[128], last[256] = "", host[64] = "";
    TfEvents t;
    Error e;
    check(mkdir(in_folder("names", directory), 0777) == 0, "no directory");
    for (int i = 0; i < 4; i++) {
        must(tfevents_open(&t, directory, &e), &e);
        const char *name = strrchr(t.path, '/') + 1;
        check(strncmp(name, "events.out.tfevents.", 20) == 0 && strspn(name + 20, "0123456789") == 10 &&
                  name[30] == '.' && name[31] != '\0',
              "it is called %s", name);
        check(strcmp(name, last) > 0, "%s does not come after %s", name, last);
        snprintf(last, sizeof last, "%s", name);
        tfevents_close(&t, &e);
        if (i != 1)
            continue;
        /* one from a machine whose clock was ahead */
        snprintf(last, sizeof last, "%s/events.out.tfevents.%010lld.zzz", directory, (long long)time(NULL) + 86400);
        FILE *ahead = fopen(last, "w");
        check(ahead != NULL && fclose(ahead) == 0, "no file");
        snprintf(last, sizeof last, "events.out.tfevents.%010lld.zzz", (long long)time(NULL) + 86400);
    }
    gethostname(host, sizeof host - 1);
    if (host[strcspn(host, "_-")] == '\0')
        check(strstr(last, host) != NULL, "%s does not name the host, %s", last, host);
}

static void test_errors(void)
{
    char path[128];
    TfEvents t;
    Error e;
    check(tfevents_open(&t, in_folder("nowhere", path), &e) == -1 && strstr(e.text, path) != NULL, "no directory: %s",
          e.text);
    t = (TfEvents){0};
    check(tfevents_write(&t, 1, &(TfScalar){"a", 1}, 1, &e) == 0 && tfevents_restart(&t, 1, &e) == 0 &&
              tfevents_sync(&t, &e) == 0 && tfevents_close(&t, &e) == 0,
          "without a file something fails");
    if (access("/dev/full", W_OK) != 0) {
        check_skip("there is no /dev/full");
        return;
    }
    t = (TfEvents){.file = fopen("/dev/full", "wb"), .path = strdup("full")};
    check(tfevents_write(&t, 1, &(TfScalar){"a", 1}, 1, &e) == -1 &&
              strstr(e.text, "full: cannot be written: No space"),
          "a full disk: %s", e.text);
    check(tfevents_close(&t, &e) == -1 && strstr(e.text, "full: cannot be written"), "closed on a full disk: %s",
          e.text);
}

int main(void)
{
    if (!folder_begin("test_tfevents"))
        return 1;
    check_run("CRC-32C, known values", test_known_checksums);
    check_run("events", test_events);
    check_run("the first bytes", test_first_bytes);
    check_run("a full event", test_full_event);
    check_run("a file cut anywhere", test_cut);
    check_run("names sort by time", test_names);
    check_run("errors", test_errors);
    folder_end();
    return check_summary();
}
