#include "base/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool begins_character(char byte) { return ((unsigned char)byte & 0xc0) != 0x80; }

size_t text_decode(const char *at, const char *end, uint32_t *code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char lead = (unsigned char)*at;
    *code = lead;
    if (lead < 0x80)
        return 1;
    const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc0 || lead > 0xf7 || length > (size_t)(end - at))
        return 0;
    *code = lead & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (begins_character(at[i]))
            return 0;
        *code = *code << 6 | ((unsigned char)at[i] & 0x3f);
    }
    const bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
    return *code < smallest[length] || *code > 0x10ffff || surrogate ? 0 : length;
}

size_t text_utf8(const char *at, const char *end)
{
    uint32_t code;
    return text_decode(at, end, &code);
}

size_t text_count(const char *text, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += begins_character(text[i]);
    return count;
}

size_t text_find(const char *text, size_t size, size_t *count)
{
    for (size_t i = 0; i < size; i++) {
        if (!begins_character(text[i]))
            continue;
        if (*count == 0)
            return i;
        --*count;
    }
    return size;
}

bool text_is_utf8(const char *text)
{
    const char *end = text + strlen(text);
    for (size_t n; text < end; text += n)
        if ((n = text_utf8(text, end)) == 0)
            return false;
    return true;
}

bool text_ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && memcmp(text + n - m, end, m) == 0;
}

size_t text_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

int text_compare(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

size_t text_printable(const char *at, const char *end)
{
    uint32_t code;
    const size_t bytes = text_decode(at, end, &code);
    return bytes > 0 && !is_control(code) ? bytes : 0;
}

size_t text_show(char *out, size_t capacity, const char *text)
{
    const char *end = text + strlen(text);
    size_t whole = 0, written = 0;
    while (text < end) {
        char piece[4 * 4 + 1];
        uint32_t code;
        const size_t valid = text_decode(text, end, &code), bytes = valid > 0 ? valid : 1;
        size_t length = bytes;
        memcpy(piece, text, bytes);
        if (valid == 0 || is_control(code))
            for (length = 0; length < 4 * bytes; length += 4)
                snprintf(piece + length, 5, "\\x%02x", (unsigned char)text[length / 4]);
        if (whole + length < capacity) { /* once false, it stays false */
            memcpy(out + whole, piece, length);
            written = whole + length;
        }
        whole += length;
        text += bytes;
    }
    if (capacity > 0)
        out[written] = '\0';
    return whole;
}
