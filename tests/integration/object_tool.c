/*
 * Prints a full object of every kind that is served, for a reader that is not our own code: lines
 * of group/version, kind, JSON, and base64 of the same in protobuf, with tabs between.
 */
#include <stdio.h>

#include "apiserver/schema/protobuf.h"
#include "common/base64.h"
#include "tests/unit/apiserver/full_object.h"

static void print_kind(const struct resource *r)
{
    autojson cJSON *tree = full_object(r->schema, r->group_version, r->kind, FILL_ALL);
    autostrbuf struct strbuf json = STRBUF_EMPTY, base64 = STRBUF_EMPTY;
    struct protobuf p;

    json_print(tree, &json);
    protobuf_init(&p);
    protobuf_object(&p, r->group_version, r->kind, r->schema, strbuf_str(&json));
    base64_encode(protobuf_bytes(&p), &base64);
    printf("%s\t%s\t%s\t%s\t%s\n", r->group_version, r->plural, r->kind, json.data, base64.data);
    protobuf_done(&p);
}

int main(void)
{
    struct api *api;
    struct error err;

    if (api_new(&api, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (size_t i = 0; i < api_count(api); i++)
        if (!api_at(api, i)->internal)
            print_kind(api_at(api, i));
    api_free(api);
    return 0;
}
