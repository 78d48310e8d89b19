/* Projected objects from JSON text: see objects.h. */
#include "tests/unit/controller/objects.h"

#include <stdarg.h>
#include <stdlib.h>

const void *object_of(enum kind kind, const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    cJSON *tree = json_make("%s", text);
    const void *object = projected_new(kinds[kind].projection, tree);
    cJSON_Delete(tree);
    free(text);
    return object;
}
