/*
 * schema_validate_update: what may not change once an object exists.
 *
 * Fields marked `immutable` or `frozen` in the .api files, at every depth that is not inside a
 * list; object metadata; and the named update rule of the resource (rules_update.c).
 *
 * Upstream: ValidateImmutableField, ValidateObjectMetaAccessorUpdate, Validate<Kind>Update.
 */
#include "apiserver/schema/check.h"

static const char immutable_text[] = "field is immutable";

static void update_object(struct check *c, const struct schema *s, const cJSON *new,
    const cJSON *old, const struct frame *at)
{
    cJSON *x[SCHEMA_FIELDS_MAX], *y[SCHEMA_FIELDS_MAX];
    schema_slots(s, new, x);
    schema_slots(s, old, y);
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        const char *frozen = f->rules ? f->rules->frozen : NULL;
        bool fixed = frozen || (f->flags & F_IMMUTABLE);
        if (fixed && field_equal(f, x[i], y[i]))
            continue;
        if (frozen) {
            check_forbidden(c, AT(at, f->name), frozen);
        } else if (fixed) {
            autojson cJSON *null = cJSON_CreateNull();
            check_invalid(c, AT(at, f->name), x[i] ? x[i] : null, immutable_text);
        } else if (f->type == V_OBJECT && x[i] && y[i]) {
            update_object(c, f->object, x[i], y[i], AT(at, f->name));
        }
    }
}

static void update_metadata_field(
    struct check *c, const cJSON *new, const cJSON *old, const char *name)
{
    const cJSON *x = json_get(new, name), *y = json_get(old, name);
    if ((value_is_empty(x) && value_is_empty(y)) || json_equal(x, y))
        return;
    autojson cJSON *null = cJSON_CreateNull();
    check_invalid(c, AT(AT(NULL, "metadata"), name), x ? x : null, immutable_text);
}

static bool has_string(const cJSON *list, const char *text)
{
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        if (!strcmp(value_string(e), text))
            return true;
    return false;
}

static void update_finalizers(struct check *c, const cJSON *new, const cJSON *old)
{
    autostrbuf struct strbuf added = STRBUF_EMPTY;
    const cJSON *before = json_get(old, "finalizers"), *after = json_get(new, "finalizers");
    if (value_is_empty(json_get(old, "deletionTimestamp")))
        return;
    for (const cJSON *e = after ? after->child : NULL; e; e = e->next)
        if (!has_string(before, value_string(e)))
            strbuf_addf(&added, "%s\"%s\"", added.n ? ", " : "", value_string(e));
    if (added.n > 0)
        check_error(c, AT(AT(NULL, "metadata"), "finalizers"), FIELD_FORBIDDEN, NULL,
            "no new finalizers can be added if the object is being deleted, found new finalizers "
            "[]string{%s}",
            added.data);
}

static void update_metadata(struct check *c, const cJSON *new, const cJSON *old)
{
    static const char *const names[] = {"name", "namespace", "uid", "creationTimestamp",
        "deletionTimestamp", "deletionGracePeriodSeconds"};
    int64_t before, after;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        update_metadata_field(c, new, old, names[i]);
    const cJSON *g = json_get(new, "generation");
    if (json_int64(json_get(old, "generation"), &before) && json_int64(g, &after) && after < before)
        check_invalid(c, AT(AT(NULL, "metadata"), "generation"), g, "must not be decremented");
    update_finalizers(c, new, old);
}

void schema_validate_update(
    const struct resource *r, const cJSON *tree, const cJSON *old, struct field_errors *errors)
{
    struct check c = {
        .errors = errors, .resource = r, .arena = field_errors_arena(errors), .root = tree};
    update_metadata(&c, json_get(tree, "metadata"), json_get(old, "metadata"));
    if (!r->schema->node)
        update_object(&c, r->schema, tree, old, NULL);
    if (r->update_rule)
        r->update_rule(&c, tree, old);
}
