#include "base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The character at `text`; its length, or 0. */
static size_t decode(const char *text, size_t size, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char lead = size > 0 ? (unsigned char)text[0] : 0xff;
    const size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (length == 0 || length > size)
        return 0;
    *point = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 0;
        *point = *point << 6 | ((unsigned char)text[i] & 0x3f);
    }
    const bool surrogate = *point >= 0xd800 && *point <= 0xdfff;
    return *point < least[length] || *point > 0x10ffff || surrogate ? 0 : length;
}

size_t text_character(const char *text, size_t size)
{
    uint32_t point;
    return decode(text, size, &point);
}

bool text_is_utf8(const char *text)
{
    size_t left = strlen(text);
    for (size_t n; left > 0; text += n, left -= n)
        if ((n = text_character(text, left)) == 0)
            return false;
    return true;
}

static bool is_printable(uint32_t point)
{
    return point >= 0x20 && !(point >= 0x7f && point < 0xa0) && !(point >= 0x2028 && point <= 0x202e) &&
           !(point >= 0x2066 && point <= 0x2069) && point != 0x200e && point != 0x200f;
}

size_t text_show(char *out, size_t capacity, const char *text)
{
    const char *end = text + strlen(text);
    size_t whole = 0, written = 0;
    while (text < end) {
        uint32_t point = 0;
        size_t length = decode(text, (size_t)(end - text), &point), shown = length;
        char piece[4 * 4 + 1];
        if (length == 0 || !is_printable(point)) {
            length = length > 0 ? length : 1;
            shown = 4 * length;
            for (size_t i = 0; i < length; i++)
                snprintf(piece + 4 * i, 5, "\\x%02x", (unsigned)(unsigned char)text[i]);
        } else {
            memcpy(piece, text, length);
        }
        if (whole + shown < capacity) { /* once false, it stays false */
            memcpy(out + whole, piece, shown);
            written = whole + shown;
        }
        whole += shown;
        text += length;
    }
    if (capacity > 0)
        out[written] = '\0';
    return whole;
}
