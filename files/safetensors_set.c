#include "files/safetensors_set.h"

#include "files/json_file.h"

#include <stdlib.h>
#include <string.h>

enum { INDEX_LIMIT = 1 << 24, PATH_MOST = 4096 };

/* The name of a file without the folders before it. */
static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static Safetensors *find_file(const SafetensorsSet *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(name_of(safetensors_path(set->files[i])), name) == 0)
            return set->files[i];
    return NULL;
}

static int add_file(const char *path, SafetensorsSet *set, Error *e)
{
    Safetensors **more = realloc(set->files, (set->count + 1) * sizeof *more);
    if (more == NULL)
        return error_set(e, "%s: out of memory while opening it", path);
    set->files = more;
    if (safetensors_open(path, &more[set->count], e) != 0)
        return -1;
    set->count++;
    return 0;
}

/* The file of one member of the weight map, opened where it is the first there. */
static int open_part(const char *index, const Json *place, SafetensorsSet *set, Error *e)
{
    char path[PATH_MOST];
    const char *name = json_string(place);
    const int folder = (int)(name_of(index) - index);
    if (name == NULL || *name == '\0')
        return error_set(e, "%s: tensor \"%.120s\" is placed in no file", index, place->key);
    if (strchr(name, '/') != NULL || strcmp(name, "..") == 0 || strcmp(name, ".") == 0)
        return error_set(e, "%s: tensor \"%.120s\" is placed in \"%.120s\", which is no file of the same folder", index,
                         place->key, name);
    if (find_file(set, name) != NULL)
        return 0;
    if (snprintf(path, sizeof path, "%.*s%s", folder, index, name) >= PATH_MOST)
        return error_set(e, "%s: the path of \"%.120s\" is too long", index, name);
    return add_file(path, set, e);
}

/* What a file holds, the index must place there. */
static int check_file(const char *index, const Json *map, const Safetensors *file, Error *e)
{
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *tensor = safetensors_entry(file, i)->name, *place = json_string(json_get(map, tensor));
        if (place == NULL)
            return error_set(e, "%s: holds tensor \"%.120s\", which %s does not list", safetensors_path(file), tensor,
                             name_of(index));
        if (strcmp(place, name_of(safetensors_path(file))) != 0)
            return error_set(e, "%s: holds tensor \"%.120s\", which %s places in %.120s", safetensors_path(file),
                             tensor, name_of(index), place);
    }
    return 0;
}

static int open_parts(const char *index, const Json *map, SafetensorsSet *set, Error *e)
{
    if (map == NULL || map->type != JSON_OBJECT)
        return error_set(e, "%s: has no object \"weight_map\"", index);
    for (const Json *place = map->first; place != NULL; place = place->next)
        if (open_part(index, place, set, e) != 0)
            return -1;
    for (size_t i = 0; i < set->count; i++)
        if (check_file(index, map, set->files[i], e) != 0)
            return -1;
    for (const Json *place = map->first; place != NULL; place = place->next) {
        const Safetensors *file = find_file(set, json_string(place));
        if (safetensors_find(file, place->key) == NULL)
            return error_set(e, "%s: tensor \"%.120s\" is missing, which %s places there", safetensors_path(file),
                             place->key, name_of(index));
    }
    return 0;
}

int safetensors_set_open(const char *path, SafetensorsSet *set, Error *e)
{
    static const char ending[] = ".index.json";
    const size_t length = strlen(path), end = sizeof ending - 1;
    Json *index;
    *set = (SafetensorsSet){0};
    if (length < end || strcmp(path + length - end, ending) != 0)
        return add_file(path, set, e);
    if (json_file_read(path, INDEX_LIMIT, &index, e) != 0)
        return -1;
    const int status = open_parts(path, json_get(index, "weight_map"), set, e);
    json_free(index);
    return status;
}

void safetensors_set_close(SafetensorsSet *set)
{
    for (size_t i = 0; i < set->count; i++)
        safetensors_close(set->files[i]);
    free(set->files);
    *set = (SafetensorsSet){0};
}
