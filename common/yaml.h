/*
 * YAML to JSON by the rules of sigs.k8s.io/yaml (YAML 1.1 scalars: `yes` is true, 010 is 8, 1.20
 * is 1.2).
 *
 * Input is split into documents at lines starting with `---`, as kubectl does, before parsing. Text
 * that starts with `{` is read as JSON values one after the other. Documents that hold nothing are
 * skipped. JSON that fails is still tried as a YAML flow mapping. Members that come twice: the last
 * wins; YAML_STRICT refuses them, in JSON too. Aliases are expanded up to LIMIT_YAML_NODES; nesting
 * up to LIMIT_YAML_DEPTH.
 *
 *     struct yaml_stream s = yaml_stream_of(text);
 *     while ((r = yaml_next(&s, YAML_STRICT, &tree, &err)) > 0) ...
 */
#pragma once

#include "common/json.h"

enum yaml_mode { YAML_LAX, YAML_STRICT /* duplicate keys are errors */ };

struct yaml_stream {
    struct str rest;
    int line;     /* first line of the next document, from 1 */
    int document; /* number of the document last returned, from 1 */
};

struct yaml_stream yaml_stream_of(struct str text);

/* 1 and a tree, 0 at the end, or -ERR_BAD_REQUEST: "yaml: line 7: mapping values are not allowed
 * here". */
int yaml_next(struct yaml_stream *s, enum yaml_mode mode, cJSON **ret, struct error *err);

/* One document. */
int yaml_parse(struct str text, enum yaml_mode mode, cJSON **ret, struct error *err);

/* Block style with sorted keys, strings quoted where a YAML 1.1 reader would take them for another
 * type. */
void yaml_print(const cJSON *tree, struct strbuf *out);
