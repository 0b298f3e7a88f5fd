#include "data/stories.h"

/*
 * libFuzzer entry: any bytes are either refused with a sentence or parsed into figures that make sense.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Stories s;
    Error e = {""};
    if (stories_parse(data, size, &s, &e) != 0) {
        if (e.text[0] == '\0' || s.text != NULL)
            __builtin_trap();
        return 0;
    }
    for (size_t i = 0; i < s.size; i++)
        if (!(s.nats[i] >= 0) || s.text[i] != data[i])
            __builtin_trap();
    stories_free(&s);
    return 0;
}
