/*
 * The order in which a type's fields stand in protobuf, made once at start: `wire` of every schema.
 *
 * A number has up to three parts (2.30: field 30 of the embedded message 2); fields without one, as
 * apiVersion and kind of an object, are not on the wire.
 */
#include "apiserver/schema/model.h"

static int compare_numbers(const struct field *a, const struct field *b)
{
    return memcmp(a->numbers, b->numbers, sizeof(a->numbers));
}

static void order(struct api *api, struct schema *s)
{
    uint8_t wire[SCHEMA_FIELDS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < s->field_count; i++) {
        if (s->fields[i].numbers[0] == 0)
            continue;
        size_t at = count++;
        for (; at > 0 && compare_numbers(&s->fields[wire[at - 1]], &s->fields[i]) > 0; at--)
            wire[at] = wire[at - 1];
        wire[at] = (uint8_t)i;
    }
    uint8_t *kept = arena_alloc(api->arena, count > 0 ? count : 1);
    memcpy(kept, wire, count);
    s->wire = kept;
    s->wire_count = (uint8_t)count;
}

/* The free-form types that a CustomResourceDefinition's schema is made of. */
static void mark_choice(struct api *api, struct schema *s)
{
    static const struct {
        const char *name;
        enum choice choice;
    } choices[] = {
        {"JSONSchemaPropsOrBool", CHOICE_BOOL},
        {"JSONSchemaPropsOrArray", CHOICE_SCHEMAS},
        {"JSONSchemaPropsOrStringArray", CHOICE_STRINGS},
    };

    for (size_t i = 0; s->is_any && i < ARRAY_COUNT(choices); i++)
        if (!strcmp(s->name, choices[i].name)) {
            s->choice = (uint8_t)choices[i].choice;
            s->choice_of = schema_of_definition(api, s->package, "JSONSchemaProps");
        }
}

void schema_order_wire(struct api *api)
{
    for (size_t i = 0; i < api->schema_count; i++) {
        order(api, &api->schemas[i]);
        mark_choice(api, &api->schemas[i]);
    }
}
