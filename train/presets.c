#include "train/presets.h"

#include <string.h>

static const struct {
    const char *name, *text;
} presets[] = {
#include "presets.inc" /* by the Makefile: {"name", "text"}, for each file of presets/ */
};

enum { PRESETS = sizeof presets / sizeof *presets };

const char *preset_name(size_t i) { return i < PRESETS ? presets[i].name : NULL; }

const char *preset_text(const char *name)
{
    for (size_t i = 0; i < PRESETS; i++)
        if (strcmp(presets[i].name, name) == 0)
            return presets[i].text;
    return NULL;
}

void presets_list(FILE *to)
{
    for (size_t i = 0; i < PRESETS; i++) {
        const char *first = presets[i].text + strspn(presets[i].text, "# ");
        fprintf(to, "%-16s %.*s\n", presets[i].name, (int)strcspn(first, "\n"), first);
    }
}
