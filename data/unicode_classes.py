#!/usr/bin/env python3
"""Writes unicode_classes.h, beside it: which code points GPT-2's pattern takes for letters, numbers and white space.

The classes are those of Unicode 16.0, which tiktoken 0.14 follows: all 1,112,064 code points agree. Python 3.14 has
that version; elsewhere `pip install unicodedata2==16.0.0` provides it.
"""
import os
import unicodedata

WANTED = "16.0.0"
OTHER, LETTER, NUMBER, SPACE = range(4)
BLOCK = 256
CONTROLS = {*range(0x09, 0x0E), 0x85}  # of the property White_Space; its other members are category Z


def database():
    if unicodedata.unidata_version == WANTED:
        return unicodedata
    import unicodedata2

    if unicodedata2.unidata_version != WANTED:
        raise SystemExit(f"unicode_classes.py: needs Unicode {WANTED}; unicodedata2 has {unicodedata2.unidata_version}")
    return unicodedata2


def class_of(data, code):
    category = data.category(chr(code))[0]
    return {"L": LETTER, "N": NUMBER}.get(category, SPACE if category == "Z" or code in CONTROLS else OTHER)


def stages(classes):
    """The number of each block, and the distinct blocks, four code points a byte."""
    numbers, blocks = [], {}
    for start in range(0, len(classes), BLOCK):
        block = classes[start:start + BLOCK]
        packed = tuple(sum(block[i + j] << 2 * j for j in range(4)) for i in range(0, BLOCK, 4))
        numbers.append(blocks.setdefault(packed, len(blocks)))
    return numbers, list(blocks)


def rows(values):
    return "\n".join("    " + " ".join(f"{v}," for v in values[i:i + 26]) for i in range(0, len(values), 26))


def main():
    data = database()
    classes = [class_of(data, code) for code in range(0x110000)]
    end = max(code for code, kind in enumerate(classes) if kind != OTHER) // BLOCK * BLOCK + BLOCK
    numbers, blocks = stages(classes[:end])
    assert len(blocks) <= 256
    text = f"""#ifndef DATA_UNICODE_CLASSES_H
#define DATA_UNICODE_CLASSES_H

#include <stdint.h>

/*
 * Unicode {data.unidata_version} in the classes of GPT-2's pattern: 0 other, 1 letter (\\p{{L}}), 2 number (\\p{{N}}), 3 white space
 * (White_Space). Written by unicode_classes.py. From UNICODE_CLASSES_END on every code point is "other"; below it, code
 * point c has bits 2 (c % 4) and 2 (c % 4) + 1 of unicode_class_blocks[unicode_class_numbers[c / {BLOCK}]][c % {BLOCK} / 4].
 */
enum {{ UNICODE_CLASSES_END = {end:#x} }};

/* clang-format off */
static const uint8_t unicode_class_numbers[] = {{
{rows(numbers)}
}};

static const uint8_t unicode_class_blocks[][{BLOCK // 4}] = {{
""" + "\n".join("    {\n" + rows(block) + "\n    }," for block in blocks) + """
};
/* clang-format on */

#endif
"""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "unicode_classes.h"), "w") as to:
        to.write(text)


main()
