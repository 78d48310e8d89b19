/*
 * Reads the embedded .api files into schemas and resources (the language: README.md of this
 * folder).
 *
 * Two passes: the first finds the types, so that a field may refer to any of them; the second reads
 * fields and resources. Names are interned, everything lives in the api's arena, help texts stay
 * where they are in the binary. An error names file and line; it is a mistake in a file of ours,
 * and the unit tests read them all.
 *
 * Cost: about 1 ms for all files.
 */
#include "apiserver/schema/parse.h"

#include "common/json.h"

static int fail(struct parser *p, const char *what, struct str token)
{
    return error_set(p->err, ERR_INTERNAL, "%s:%zu: %s \"%.*s\"", p->file->name, p->line_number,
        what, STR_FMT(token));
}

uint32_t schema_hash(const char *name, size_t n)
{
    uint32_t h = 2166136261u ^ (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h ^ (h >> 15);
}

const char *parser_intern(struct parser *p, struct str s)
{
    uint32_t at = schema_hash(s.p, s.n) & PARSER_NAMES_MASK;
    while (p->names[at]) {
        if (strlen(p->names[at]) == s.n && !memcmp(p->names[at], s.p, s.n))
            return p->names[at];
        at = (at + 1) & PARSER_NAMES_MASK;
    }
    assert(++p->name_count < PARSER_NAMES_MASK);
    return p->names[at] = arena_strdup(p->api->arena, s);
}

bool parser_token(struct str *rest, struct str *ret)
{
    *rest = str_trim(*rest);
    if (rest->n == 0)
        return false;
    size_t n = 0, skip = 0;
    if (rest->p[0] == '"') {
        for (n = 1; n < rest->n && rest->p[n] != '"'; n++)
            ;
        *ret = str_range(rest->p + 1, n - 1);
        skip = n < rest->n ? n + 1 : n;
    } else {
        bool quoted = false; /* key="two words" is one token */
        for (; n < rest->n && (quoted || rest->p[n] != ' '); n++)
            quoted ^= rest->p[n] == '"';
        *ret = str_range(rest->p, n);
        skip = n;
    }
    *rest = str_range(rest->p + skip, rest->n - skip);
    return true;
}

const char *const *parser_names(struct parser *p, struct str list, char separator)
{
    size_t count = 1;
    for (size_t i = 0; i < list.n; i++)
        count += list.p[i] == separator;
    const char **names = arena_new_array(p->api->arena, const char *, count + 1);
    size_t start = 0;
    count = 0;
    for (size_t i = 0; i <= list.n; i++) {
        if (i < list.n && list.p[i] != separator)
            continue;
        names[count++] = parser_intern(p, str_range(list.p + start, i - start));
        start = i + 1;
    }
    return names;
}

/* "key=value": true and the value when the token is of that key. */
bool parser_value(struct str token, const char *key, struct str *ret)
{
    size_t n = strlen(key);
    if (token.n <= n || memcmp(token.p, key, n) != 0 || token.p[n] != '=')
        return false;
    *ret = str_range(token.p + n + 1, token.n - n - 1);
    return true;
}

/* "word(inside)" */
static bool parenthesised(struct str token, const char *word, struct str *ret)
{
    size_t n = strlen(word);
    if (token.n < n + 2 || memcmp(token.p, word, n) != 0 || token.p[n] != '(')
        return false;
    *ret = str_range(token.p + n + 1, token.n - n - 2);
    return token.p[token.n - 1] == ')';
}

struct schema *parser_schema(struct parser *p, const char *package, struct str name)
{
    uint32_t at =
        (schema_hash(name.p, name.n) ^ schema_hash(package, strlen(package))) & PARSER_TYPES_MASK;
    for (; p->types[at]; at = (at + 1) & PARSER_TYPES_MASK) {
        struct schema *s = p->types[at];
        if (s->package == package && str_eqc(name, s->name))
            return s;
    }
    return NULL;
}

static int add_type(struct parser *p, const char *package, const char *definitions, struct str line)
{
    struct str word, name;
    parser_token(&line, &word);
    if (!parser_token(&line, &name))
        return fail(p, "a type needs a name", line);
    struct schema *s = &p->api->schemas[p->api->schema_count++];
    s->name = parser_intern(p, name);
    s->package = package;
    s->definition = arena_printf(p->api->arena, "%s.%s", definitions, s->name);
    s->group_version = p->group_version;
    uint32_t at =
        (schema_hash(name.p, name.n) ^ schema_hash(package, strlen(package))) & PARSER_TYPES_MASK;
    while (p->types[at])
        at = (at + 1) & PARSER_TYPES_MASK;
    p->types[at] = s;
    struct field *element = arena_zalloc(p->api->arena, sizeof(*element));
    element->type = V_OBJECT;
    element->object = s;
    s->element = element;
    return 0;
}

static bool next_line(struct parser *p, struct str *line)
{
    if (p->at >= p->file->end)
        return false;
    const char *end = memchr(p->at, '\n', (size_t)(p->file->end - p->at));
    if (!end)
        end = p->file->end;
    *line = str_range(p->at, (size_t)(end - p->at));
    p->at = end + 1;
    p->line_number++;
    return true;
}

static int read_package(struct parser *p, struct str line)
{
    struct str word, package, definitions, gv;
    parser_token(&line, &word);
    if (!parser_token(&line, &package) || !parser_token(&line, &definitions))
        return fail(p, "a package needs a name and a prefix", line);
    p->package = parser_intern(p, package);
    p->definitions = parser_intern(p, definitions);
    p->group_version = parser_token(&line, &gv) ? parser_intern(p, gv) : NULL;
    return 0;
}

static const struct {
    const char *name;
    enum value_type type;
} scalars[] = {
    {"string", V_STRING},
    {"bool", V_BOOL},
    {"int32", V_INT32},
    {"int64", V_INT64},
    {"double", V_DOUBLE},
    {"bytes", V_BYTES},
    {"Quantity", V_QUANTITY},
    {"IntOrString", V_INT_OR_STRING},
    {"Time", V_TIME},
    {"MicroTime", V_MICROTIME},
    {"RawExtension", V_ANY},
};

static const struct field *element_of(struct parser *p, struct str type);

static int read_type(struct parser *p, struct str type, struct field *f)
{
    struct str inner = type;
    if (str_starts(type, STR("[]"))) {
        f->type = V_LIST;
        inner = str_range(type.p + 2, type.n - 2);
    } else if (str_starts(type, STR("map:"))) {
        f->type = V_MAP;
        inner = str_range(type.p + 4, type.n - 4);
    }
    if (inner.p != type.p) {
        f->items = element_of(p, inner);
        return f->items ? 0 : fail(p, "unknown type", inner);
    }
    for (size_t i = 0; i < ARRAY_COUNT(scalars); i++) {
        if (str_eqc(type, scalars[i].name)) {
            f->type = (uint8_t)scalars[i].type;
            return 0;
        }
    }
    const char *package = p->package;
    ssize_t dot = -1;
    for (size_t i = 0; i < type.n; i++)
        if (type.p[i] == '.')
            dot = (ssize_t)i;
    if (dot > 0) {
        package = parser_intern(p, str_range(type.p, (size_t)dot));
        type = str_range(type.p + dot + 1, type.n - (size_t)dot - 1);
    }
    f->object = parser_schema(p, package, type);
    if (!f->object)
        return fail(p, "unknown type", type);
    f->type = f->object->is_any ? V_ANY : V_OBJECT;
    return 0;
}

static const struct field *element_of(struct parser *p, struct str type)
{
    for (size_t i = 0; i < ARRAY_COUNT(scalars); i++) {
        if (!str_eqc(type, scalars[i].name))
            continue;
        if (!p->elements[i]) {
            p->elements[i] = arena_zalloc(p->api->arena, sizeof(struct field));
            p->elements[i]->type = (uint8_t)scalars[i].type;
        }
        return p->elements[i];
    }
    struct field *f = arena_zalloc(p->api->arena, sizeof(*f));
    if (read_type(p, type, f) < 0)
        return NULL;
    return f->type == V_OBJECT ? f->object->element : f;
}

/* A text in quotes. */
static const char *parser_text(struct parser *p, struct str value)
{
    bool quoted = value.n >= 2 && value.p[0] == '"';
    return parser_intern(p, quoted ? str_range(value.p + 1, value.n - 2) : value);
}

static void read_numbers(struct str token, struct field *f)
{
    size_t part = 0;
    for (size_t i = 1; i < token.n && part < 3; i++) {
        if (token.p[i] == '.')
            part++;
        else if (token.p[i] >= '0' && token.p[i] <= '9')
            f->numbers[part] = (uint8_t)(f->numbers[part] * 10 + (token.p[i] - '0'));
    }
}

static const struct {
    const char *word;
    uint16_t flag;
} flag_words[] = {
    {"required", F_REQUIRED},
    {"needed", F_NEEDED},
    {"ptr", F_PTR},
    {"omitempty", F_OMITEMPTY},
    {"immutable", F_IMMUTABLE},
    {"map=atomic", F_MAP_ATOMIC},
    {"map=granular", F_GRANULAR},
    {"unique", F_UNIQUE},
    {"choice", F_CHOICE},
};

static bool read_flag(struct str token, struct field *f)
{
    for (size_t i = 0; i < ARRAY_COUNT(flag_words); i++) {
        if (str_eqc(token, flag_words[i].word)) {
            f->flags |= flag_words[i].flag;
            return true;
        }
    }
    return false;
}

/* list=atomic, list=set, list=map(a,b) */
static bool read_list(struct parser *p, struct str value, struct field *f)
{
    struct str inside;
    if (str_eqc(value, "atomic")) {
        f->list = LIST_ATOMIC;
    } else if (str_eqc(value, "set")) {
        f->list = LIST_SET;
    } else if (parenthesised(value, "map", &inside)) {
        f->list = LIST_MAP;
        f->keys = parser_names(p, inside, ',');
    } else {
        return false;
    }
    return true;
}

/* patch=merge, patch=merge(key), patch=merge,retainKeys(key), patch=retainKeys, patch=replace */
static bool read_patch(struct parser *p, struct str value, struct field *f)
{
    ssize_t open = str_find(value, '(');
    if (open > 0) {
        f->merge_key = parser_intern(p, str_range(value.p + open + 1, value.n - (size_t)open - 2));
        value.n = (size_t)open;
    }
    struct str part;
    while (str_split(&value, ',', &part)) {
        if (str_eqc(part, "merge"))
            f->patch |= PATCH_MERGE;
        else if (str_eqc(part, "retainKeys"))
            f->patch |= PATCH_RETAIN_KEYS;
        else if (str_eqc(part, "replace"))
            f->patch |= PATCH_REPLACE;
        else
            return false;
    }
    return true;
}

static void delete_tree(void *tree)
{
    cJSON_Delete(tree);
}

static struct rules *rules_of(struct parser *p, struct field *f)
{
    if (!f->rules)
        f->rules = arena_zalloc(p->api->arena, sizeof(struct rules));
    return (struct rules *)f->rules;
}

static int read_rule(struct parser *p, struct str token, struct field *f)
{
    struct str value;
    int64_t number;
    if (parenthesised(token, "enum", &value)) {
        rules_of(p, f)->enums = parser_names(p, value, '|');
    } else if (parser_value(token, "default", &value)) {
        struct rules *r = rules_of(p, f);
        if (json_parse(value, &r->otherwise, p->err) < 0)
            return fail(p, "bad default", value);
        arena_on_free(p->api->arena, delete_tree, r->otherwise);
    } else if (parser_value(token, "min", &value) && str_parse_int64(value, &number, p->err) == 0) {
        rules_of(p, f)->min = number;
        rules_of(p, f)->has_min = true;
    } else if (parser_value(token, "max", &value) && str_parse_int64(value, &number, p->err) == 0) {
        rules_of(p, f)->max = number;
        rules_of(p, f)->has_max = true;
    } else if (parser_value(token, "maxitems", &value) &&
               str_parse_int64(value, &number, p->err) == 0) {
        rules_of(p, f)->max_items = (uint32_t)number;
    } else if (parser_value(token, "format", &value)) {
        if (!(rules_of(p, f)->format = format_find(value)))
            return fail(p, "unknown format", value);
    } else if (parser_value(token, "check", &value)) {
        if (!(rules_of(p, f)->check = check_find(value)))
            return fail(p, "unknown check", value);
    } else if (parser_value(token, "maxlen", &value) &&
               str_parse_int64(value, &number, p->err) == 0) {
        rules_of(p, f)->max_length = (uint32_t)number;
    } else if (parser_value(token, "message", &value)) {
        rules_of(p, f)->message = parser_text(p, value);
    } else if (parser_value(token, "frozen", &value)) {
        rules_of(p, f)->frozen = parser_text(p, value);
    } else if (parser_value(token, "else", &value)) {
        rules_of(p, f)->otherwise_text = parser_text(p, value);
    } else if (parenthesised(token, "when", &value)) {
        struct str name;
        str_split(&value, '=', &name);
        rules_of(p, f)->when = parser_intern(p, name);
        rules_of(p, f)->when_values = parser_names(p, value, '|');
    } else {
        return fail(p, "unknown attribute", token);
    }
    return 0;
}

static int read_field(struct parser *p, struct str line, struct field *f)
{
    struct str token, value;
    parser_token(&line, &token);
    f->name = parser_intern(p, token);
    f->name_length = (uint8_t)token.n;
    f->hash = field_hash(token.p, token.n);
    if (!parser_token(&line, &token))
        return fail(p, "a field needs a type", line);
    if (read_type(p, token, f) < 0)
        return -p->err->code;
    while (parser_token(&line, &token)) {
        if (token.p[-1] == '"') {
            f->help = token.p;
            f->help_length = (uint16_t)token.n;
        } else if (token.p[0] == '@') {
            read_numbers(token, f);
        } else if (parser_value(token, "list", &value)) {
            if (!read_list(p, value, f))
                return fail(p, "unknown list type", value);
        } else if (parser_value(token, "patch", &value)) {
            if (!read_patch(p, value, f))
                return fail(p, "unknown patch strategy", value);
        } else if (!read_flag(token, f) && read_rule(p, token, f) < 0) {
            return -p->err->code;
        }
    }
    return 0;
}

static void add_type_meta(struct parser *p, struct field *fields)
{
    static const char *const names[] = {"kind", "apiVersion"};
    for (size_t i = 0; i < 2; i++) {
        fields[i].name = names[i];
        fields[i].name_length = (uint8_t)strlen(names[i]);
        fields[i].hash = field_hash(names[i], strlen(names[i]));
        fields[i].type = V_STRING;
        fields[i].flags = F_OMITEMPTY | F_TYPEMETA;
    }
}

static void build_slots(struct parser *p, struct schema *s)
{
    size_t size = 4;
    while (size < s->field_count * 2u)
        size *= 2;
    uint16_t *slots = arena_new_array(p->api->arena, uint16_t, size);
    s->slot_mask = (uint16_t)(size - 1);
    for (size_t i = 0; i < s->field_count; i++) {
        uint32_t at = s->fields[i].hash & s->slot_mask;
        while (slots[at])
            at = (at + 1) & s->slot_mask;
        slots[at] = (uint16_t)(i + 1);
    }
    s->slots = slots;
}

static int end_type(struct parser *p)
{
    struct schema *s = p->type;
    if (!s)
        return 0;
    p->type = NULL;
    struct field *fields = arena_new_array(p->api->arena, struct field, p->field_count + 1);
    memcpy(fields, p->fields, p->field_count * sizeof(struct field));
    s->fields = fields;
    s->field_count = (uint16_t)p->field_count;
    build_slots(p, s);
    return 0;
}

static int begin_type(struct parser *p, struct str line)
{
    struct str token, value;
    parser_token(&line, &token);
    parser_token(&line, &token);
    struct schema *s = p->type = parser_schema(p, p->package, token);
    p->field_count = 0;
    memset(p->fields, 0, sizeof(p->fields));
    while (parser_token(&line, &token)) {
        if (token.p[-1] == '"') {
            s->help = token.p;
            s->help_length = (uint16_t)token.n;
        } else if (str_eqc(token, "kind")) {
            add_type_meta(p, p->fields);
            p->field_count = 2;
        } else if (parser_value(token, "defaults", &value)) {
            if (!(s->defaults = default_find(value)))
                return fail(p, "unknown defaults", value);
        } else if (parser_value(token, "rule", &value)) {
            if (!(s->rule = rule_find(value)))
                return fail(p, "unknown rule", value);
        } else if (parser_value(token, "choose", &value)) {
            s->choose_none = parser_text(p, value);
        } else if (parser_value(token, "choose-one", &value)) {
            s->choose_many = parser_text(p, value);
        } else if (str_eqc(token, "atomic")) {
            s->is_atomic = true;
        } else if (!str_eqc(token, "=") && !str_eqc(token, "any")) {
            return fail(p, "unknown attribute of a type", token);
        }
    }
    return 0;
}

static int read_line(struct parser *p, struct str line)
{
    if (line.n == 0 || line.p[0] == '#')
        return 0;
    if (line.p[0] == ' ') {
        if (p->type) {
            if (p->field_count >= SCHEMA_FIELDS_MAX)
                return fail(p, "too many fields in", str_of(p->type->name));
            return read_field(p, line, &p->fields[p->field_count++]);
        }
        return parse_resource_line(p, line);
    }
    end_type(p);
    if (str_starts(line, STR("type ")))
        return begin_type(p, line);
    if (str_starts(line, STR("resource ")))
        return parse_resource(p, line);
    if (str_starts(line, STR("package ")))
        return read_package(p, line);
    return fail(p, "unknown line", line);
}

typedef int line_fn(struct parser *p, struct str line);

static int each_line(struct parser *p, line_fn *fn)
{
    struct str line;
    for (size_t i = 0; i < api_file_count; i++) {
        p->file = &api_files[i];
        p->at = p->file->text;
        p->line_number = 0;
        while (next_line(p, &line))
            if (fn(p, line) < 0)
                return -p->err->code;
        end_type(p);
    }
    return 0;
}

static int count_line(struct parser *p, struct str line)
{
    p->api->schema_count += str_starts(line, STR("type "));
    p->api->resource_count += str_starts(line, STR("resource "));
    return 0;
}

static int find_type(struct parser *p, struct str line)
{
    if (str_starts(line, STR("package ")))
        return read_package(p, line);
    if (!str_starts(line, STR("type ")))
        return 0;
    if (add_type(p, p->package, p->definitions, line) < 0)
        return -p->err->code;
    struct schema *s = &p->api->schemas[p->api->schema_count - 1];
    s->is_kind = memmem(line.p, line.n, " kind", 5) != NULL;
    s->is_any = memmem(line.p, line.n, " = any", 6) != NULL;
    return 0;
}

static bool field_has_own(const struct field *f, bool defaults)
{
    if (defaults)
        return f->rules && f->rules->otherwise;
    return f->rules || (f->flags & (F_NEEDED | F_UNIQUE));
}

/* One round of marking; true when something changed. Types refer to each other in circles, so until
 * nothing does. */
static bool mark_deep(struct api *api)
{
    bool changed = false;
    for (size_t i = 0; i < api->schema_count; i++) {
        struct schema *s = &api->schemas[i];
        bool defaults = s->defaults, rules = s->rule || s->choose_none || s->choose_many;
        for (size_t k = 0; k < s->field_count; k++) {
            const struct field *f = &s->fields[k], *v = f;
            defaults = defaults || field_has_own(f, true);
            rules = rules || field_has_own(f, false);
            while (v->items)
                v = v->items;
            defaults = defaults || (v->object && v->object->deep_defaults);
            rules = rules || (v->object && v->object->deep_rules);
        }
        changed = changed || defaults != s->deep_defaults || rules != s->deep_rules;
        s->deep_defaults = defaults;
        s->deep_rules = rules;
    }
    return changed;
}

int schema_parse(struct api *api, struct error *err)
{
    autofree struct parser *p = xcalloc(1, sizeof(*p));
    p->api = api;
    p->err = err;
    if (each_line(p, count_line) < 0)
        return -err->code;
    api->schemas = arena_new_array(api->arena, struct schema, api->schema_count);
    api->resources = arena_new_array(api->arena, struct resource, api->resource_count);
    api->schema_count = api->resource_count = 0;
    if (each_line(p, find_type) < 0 || each_line(p, read_line) < 0 || parse_link_resources(p) < 0)
        return -err->code;
    while (mark_deep(api))
        ;
    schema_order_wire(api);
    api->meta.partial = schema_of_definition(api, "meta.v1", "PartialObjectMetadata");
    api->meta.list = schema_of_definition(api, "meta.v1", "ListMeta");
    return 0;
}
