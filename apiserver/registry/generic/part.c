/*
 * See part.h. Upstream: the PrepareForUpdate of the subresources' strategies.
 */
#include "apiserver/registry/generic/part.h"

int change_part(struct write_context *w, struct object_write *o, part_fn *part, struct error *err)
{
    change_fn *change = o->patch ? change_patch : change_replace;
    autojson cJSON *sent = NULL;

    if (change(w, o, err) < 0)
        return -(int)err->code;
    sent = steal(&w->tree);
    schema_default(w->resource->schema, sent);
    w->tree = cJSON_Duplicate(w->old, true);
    part(w->tree, sent);
    return 0;
}

enum stage_result run_part(struct request *q, change_fn *change)
{
    struct object_write *o = q->write;

    o->change = change;
    o->fresh_tree = !o->patch;
    return STAGE_DONE;
}
