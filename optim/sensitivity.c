#include "optim/sensitivity.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* One item "pattern=number" of a list; `next` is where the next one begins, NULL after the last. */
typedef struct Item {
    char pattern[48];
    double value;
    bool valid;
    const char *next;
} Item;

static Item item_at(const char *text)
{
    const size_t length = strcspn(text, ",");
    const char *equals = memchr(text, '=', length);
    Item item = {.next = text[length] == ',' ? text + length + 1 : NULL};
    const size_t name = equals != NULL ? (size_t)(equals - text) : 0;
    if (name == 0 || name >= sizeof item.pattern)
        return item;
    memcpy(item.pattern, text, name);
    char *end;
    item.value = strtod(equals + 1, &end);
    item.valid = end == text + length && end != equals + 1 && isfinite(item.value) && item.value > 0;
    return item;
}

int sensitivity_check(const char *list, const Tensor *tensors, size_t count, Error *e)
{
    while (list != NULL) {
        const Item item = item_at(list);
        bool matches = false;
        if (!item.valid)
            return error_set(e, "--sensitivity: '%.*s' is not NAME=X with a number X above 0", (int)strcspn(list, ","),
                             list);
        for (size_t i = 0; i < count; i++)
            matches = matches || strstr(tensors[i].name, item.pattern) != NULL;
        if (!matches)
            return error_set(e, "--sensitivity: no tensor's name contains '%s' (--list-groups shows them)",
                             item.pattern);
        list = item.next;
    }
    return 0;
}

double sensitivity_of(const char *list, const char *name)
{
    double value = 1;
    while (list != NULL) {
        const Item item = item_at(list);
        if (strstr(name, item.pattern) != NULL)
            value = item.value;
        list = item.next;
    }
    return value;
}
