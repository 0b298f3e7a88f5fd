#include "files/tfevents.h"

#include "base/crc32c.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- protocol buffers (protobuf.dev/programming-guides/encoding) --- */

enum { MESSAGE_MOST = 64 + TFEVENTS_SCALARS_MOST * (16 + TFEVENTS_TAG_MOST) };

typedef struct Message {
    unsigned char bytes[MESSAGE_MOST];
    size_t size;
} Message;

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 }; /* wire types */

/* The numbers of the fields: of Event; of Summary and its Value (tensorflow/core/framework/summary.proto),
 * SessionLog. */
enum { WALL_TIME = 1, STEP = 2, FILE_VERSION = 3, SUMMARY = 5, SESSION_LOG = 7 };
enum { VALUE = 1, TAG = 1, SIMPLE_VALUE = 2, STATUS = 1, START = 1 };

static void put(Message *m, const void *data, size_t size)
{
    assert(size <= sizeof m->bytes - m->size);
    memcpy(m->bytes + m->size, data, size);
    m->size += size;
}

static void put_little(Message *m, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        put(m, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

static void put_varint(Message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_little(m, value | 0x80, 1);
    put_little(m, value, 1);
}

static void put_key(Message *m, unsigned field, unsigned wire) { put_varint(m, field << 3 | wire); }

static void put_bytes(Message *m, unsigned field, const void *data, size_t size)
{
    put_key(m, field, LENGTH);
    put_varint(m, size);
    put(m, data, size);
}

static void put_scalar(Message *summary, const TfScalar *s)
{
    const float value = (float)s->value;
    uint32_t bits;
    Message m = {.size = 0};
    memcpy(&bits, &value, sizeof bits);
    put_bytes(&m, TAG, s->tag, strlen(s->tag));
    put_key(&m, SIMPLE_VALUE, FIXED32);
    put_little(&m, bits, sizeof bits);
    put_bytes(summary, VALUE, m.bytes, m.size);
}

/* An event at this moment, without what it is about. */
static Message event_of(uint64_t step)
{
    struct timespec now;
    Message m = {.size = 0};
    clock_gettime(CLOCK_REALTIME, &now);
    const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    put_key(&m, WALL_TIME, FIXED64);
    put_little(&m, bits, sizeof bits);
    if (step > 0) { /* 0 is what a missing field means */
        put_key(&m, STEP, VARINT);
        put_varint(&m, step);
    }
    return m;
}

/* --- TFRecords: length, its checksum, the event, its checksum (tensorflow/core/lib/io/record_writer.h) --- */

/* A checksum that is safe among the bytes it is of (tensorflow/core/lib/hash/crc32c.h). */
static uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8; }

static int fail_to_write(const TfEvents *t, Error *e)
{
    return error_set(e, "%s: cannot be written: %s", t->path, strerror(errno));
}

static int append(TfEvents *t, const Message *event, Error *e)
{
    Message head = {.size = 0}, tail = {.size = 0};
    put_little(&head, event->size, 8);
    put_little(&head, masked(crc32c(head.bytes, head.size)), 4);
    put_little(&tail, masked(crc32c(event->bytes, event->size)), 4);
    const bool written = fwrite(head.bytes, 1, head.size, t->file) == head.size &&
                         fwrite(event->bytes, 1, event->size, t->file) == event->size &&
                         fwrite(tail.bytes, 1, tail.size, t->file) == tail.size;
    return written && fflush(t->file) == 0 ? 0 : fail_to_write(t, e);
}

/* --- the file --- */

static const char prefix[] = "events.out.tfevents.";
static const long long TIME_MOST = 9999999999; /* ten digits, so that names sort by it */

/* The time for a new file's name. */
static int choose_time(const char *dir, long long *seconds, Error *e)
{
    DIR *files = opendir(dir);
    if (files == NULL)
        return error_set(e, "%s: cannot be opened as a directory: %s", dir, strerror(errno));
    *seconds = (long long)time(NULL);
    for (const struct dirent *entry = readdir(files); entry != NULL; entry = readdir(files)) {
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0)
            continue;
        const long long other = strtoll(entry->d_name + sizeof prefix - 1, NULL, 10);
        if (other >= *seconds && other < TIME_MOST)
            *seconds = other + 1;
    }
    closedir(files);
    return 0;
}

static void host_name(char name[], size_t size)
{
    if (gethostname(name, size) != 0 || name[0] == '\0')
        snprintf(name, size, "localhost");
    name[size - 1] = '\0';
    for (char *c = name; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && *c != '.')
            *c = '-';
}

int tfevents_open(TfEvents *t, const char *dir, Error *e)
{
    char host[64];
    long long seconds = 0;
    *t = (TfEvents){0};
    if (choose_time(dir, &seconds, e) != 0)
        return -1;
    host_name(host, sizeof host);
    const size_t size = strlen(dir) + sizeof prefix + sizeof host + 24;
    t->path = malloc(size);
    if (t->path == NULL)
        return error_set(e, "%s: out of memory for an event file", dir);
    snprintf(t->path, size, "%s/%s%010lld.%s", dir, prefix, seconds, host);
    t->file = fopen(t->path, "wbx");
    if (t->file == NULL) {
        error_set(e, "%s: cannot be opened for writing: %s", t->path, strerror(errno));
        Error ignored;
        tfevents_close(t, &ignored);
        return -1;
    }
    Message event = event_of(0);
    put_bytes(&event, FILE_VERSION, "brain.Event:2", 13);
    return append(t, &event, e);
}

int tfevents_restart(TfEvents *t, uint64_t step, Error *e)
{
    if (t->file == NULL)
        return 0;
    Message event = event_of(step), log = {.size = 0};
    put_key(&log, STATUS, VARINT);
    put_varint(&log, START);
    put_bytes(&event, SESSION_LOG, log.bytes, log.size);
    return append(t, &event, e);
}

int tfevents_write(TfEvents *t, uint64_t step, const TfScalar *scalars, size_t count, Error *e)
{
    if (t->file == NULL)
        return 0;
    Message event = event_of(step), summary = {.size = 0};
    for (size_t i = 0; i < count; i++)
        put_scalar(&summary, &scalars[i]);
    put_bytes(&event, SUMMARY, summary.bytes, summary.size);
    return append(t, &event, e);
}

int tfevents_sync(TfEvents *t, Error *e)
{
    if (t->file == NULL)
        return 0;
    return fflush(t->file) != 0 || ferror(t->file) || fsync(fileno(t->file)) != 0 ? fail_to_write(t, e) : 0;
}

int tfevents_close(TfEvents *t, Error *e)
{
    const bool failed = t->file != NULL && ferror(t->file);
    int status = 0;
    if ((t->file != NULL && fclose(t->file) != 0) || failed)
        status = fail_to_write(t, e);
    free(t->path);
    *t = (TfEvents){0};
    return status;
}
