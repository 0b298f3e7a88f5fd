/* libFuzzer entry for run.json: whatever its options, they are refused with a sentence, or adopted and can be
 * recorded. */
#include "files/json.h"
#include "train/options.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char program[] = "train_gpt", resume[] = "--resume";
    char *const argv[] = {program, resume};
    char *text = NULL;
    size_t length = 0;
    Options o;
    Notes notes = {0};
    Error e = {""};
    Json *json;
    if (json_parse((const char *)data, size, &json, &e) != 0)
        return 0;
    if (options_parse(&o, 2, argv, &e) != 0)
        abort();
    const Json *options = json_get(json, "options");
    e.text[0] = '\0';
    if (options != NULL && options->type == JSON_OBJECT) {
        if (options_resume(&o, options, json_get(json, "command"), &notes, &e) == 0) {
            FILE *to = open_memstream(&text, &length);
            options_write(&o, to);
            options_write_command(&o, to);
            fclose(to);
            free(text);
        } else if (e.text[0] == '\0') {
            abort();
        }
    }
    options_free(&o);
    json_free(json);
    return 0;
}
