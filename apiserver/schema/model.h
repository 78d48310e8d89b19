/*
 * The inner shape of the schema engine: what the parser builds and every walker reads. Private to
 * this folder.
 *
 * A `struct schema` is an object type: its fields with a hash table over their names. A `struct
 * field` is a named value of such a type, and, without a name, the element of a list or map
 * (`items`). What only few fields have (limits, enums, defaults, formats) lives in a `struct rules`
 * behind a pointer.
 *
 * A walker visits the members of a tree's object once, looks each up in the schema, and goes down;
 * it never searches the tree for each field. Paths are chains of frames on the stack and become
 * text only for an error.
 *
 * Threads: immutable once api_new returned.
 */
#pragma once

#include "apiserver/schema/schema.h"

/* Fields of one built-in type, apiVersion and kind included; the parser refuses more. Custom types
 * may have more: a walker with an array of this size must not see them. */
#define SCHEMA_FIELDS_MAX 96
/* Errors shown of one object: enough to fix it, and a bound on what a hostile body can make us
 * print. */
#define FIELD_ERRORS_MAX 100

enum value_type {
    V_STRING,
    V_BOOL,
    V_INT32,
    V_INT64,
    V_DOUBLE,
    V_BYTES,
    V_QUANTITY,
    V_INT_OR_STRING,
    V_TIME,
    V_MICROTIME,
    V_ANY,
    V_OBJECT,
    V_LIST,
    V_MAP,
};

enum field_flag {
    F_REQUIRED = 1 << 0,  /* the documents call it required */
    F_NEEDED = 1 << 1,    /* validation refuses its absence */
    F_PTR = 1 << 2,       /* absent differs from zero */
    F_OMITEMPTY = 1 << 3, /* dropped from output when empty */
    F_IMMUTABLE = 1 << 4,
    F_MAP_ATOMIC = 1 << 5, /* the map or object is one unit to apply */
    F_TYPEMETA = 1 << 6,   /* apiVersion, kind */
    F_GRANULAR = 1 << 7,
    F_UNIQUE = 1 << 8, /* of a list: duplicates are refused */
    F_CHOICE = 1 << 9, /* one of several, of which an object has exactly one */
};

enum list_kind { LIST_PLAIN, LIST_ATOMIC, LIST_SET, LIST_MAP };
enum patch_flag { PATCH_MERGE = 1, PATCH_RETAIN_KEYS = 2, PATCH_REPLACE = 4 };

struct field;
struct node;
struct format;
struct check;
struct frame;
typedef void check_fn(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value);
typedef void rule_fn(struct check *c, const struct frame *at, const cJSON *object);
typedef void default_fn(cJSON *object);
typedef void update_fn(struct check *c, const cJSON *tree, const cJSON *old);

struct rules {
    const char *const *enums; /* sorted, NULL ended */
    cJSON *otherwise;         /* the default */
    int64_t min, max;
    bool has_min, has_max;
    uint32_t max_items, max_length;
    const struct format *format;
    check_fn *check;
    const char *message; /* instead of the own text of a limit or of absence */
    /* Needed when the sibling `when` has one of the values, and forbidden otherwise. */
    const char *when, *const *when_values;
    const char *otherwise_text; /* of that; NULL: fine */
    const char *frozen;         /* forbids a change, and says this */
};

struct field {
    const char *name;            /* interned; NULL for elements */
    const struct field *items;   /* of V_LIST and V_MAP */
    const struct schema *object; /* of V_OBJECT; of V_ANY with a definition of its own */
    const struct rules *rules;   /* or NULL */
    const char *help;
    const char *const *keys; /* list map keys, NULL ended */
    const char *merge_key;   /* of strategic merge */
    uint32_t hash;
    uint16_t flags;
    uint16_t help_length;
    uint8_t name_length;
    uint8_t type;       /* enum value_type */
    uint8_t list;       /* enum list_kind */
    uint8_t patch;      /* enum patch_flag */
    uint8_t numbers[3]; /* protobuf: 2.30 is field 30 of the embedded message 2 */
};

/* Of a free-form type: what it may be besides a schema (of CustomResourceDefinitions). */
enum choice { CHOICE_NONE, CHOICE_BOOL, CHOICE_SCHEMAS, CHOICE_STRINGS };

struct schema {
    const char *name;       /* "Pod": Go's type name */
    const char *package;    /* "core.v1" */
    const char *definition; /* "io.k8s.api.core.v1.Pod" */
    const char *help;
    const struct field *fields;
    const uint16_t *slots;          /* open addressing over the names: index + 1, 0 is free */
    const struct field *element;    /* this type as an element of a list or map */
    const uint8_t *wire;            /* indexes of the fields with numbers, by number */
    const struct schema *choice_of; /* the schema that a choice is of */
    default_fn *defaults;
    rule_fn *rule;
    const char *choose_none, *choose_many; /* said when none, or several, of the choices are set */
    uint16_t field_count;
    uint16_t slot_mask;
    uint16_t help_length;
    uint8_t wire_count;
    uint8_t choice; /* enum choice */
    bool is_kind, is_any;
    bool is_atomic;     /* one unit to apply, where a field does not say otherwise */
    bool deep_defaults; /* it or a type below has defaults */
    bool deep_rules;
    const char *group_version; /* of the file; NULL for meta/v1 */
    const struct node *node;   /* of a custom kind: all keywords of its schema (apiserver/custom) */
};

struct api_file {
    const char *name, *text, *end;
};
extern const struct api_file api_files[];
extern const size_t api_file_count;

struct api {
    struct arena *arena;
    struct schema *schemas;
    size_t schema_count;
    struct resource *resources;
    size_t resource_count, stored_count;
    uint32_t *find_slots; /* by group, version and plural: index + 1 */
    size_t find_mask;
    struct api_meta meta;
    uint32_t fingerprint; /* of all .api files: changes when the API does */
    /* of an extended one */
    const struct api *base; /* NULL: this is the built-in one */
    uint32_t refs;          /* atomic */
    uint64_t serial;
    struct custom **customs;
    size_t custom_count;
    const struct resource **added; /* served custom resources; indexes go on behind the base's */
    size_t added_count;
};

/* One definition at one generation. Its memory, all of it in the arena, goes with the last user. */
struct custom {
    uint32_t refs; /* atomic */
    struct arena *arena;
    struct resource *resources; /* a version each, preferred ones first */
    bool *served;
    size_t count;
    const struct resource *storage;
    bool terminating;            /* atomic: nothing new is taken */
    void (*released)(void *arg); /* called at the end, or NULL */
    void *released_arg;
};
/* Kubernetes' order of versions: v2, v1, v2beta1, v1beta2, v1alpha1, then other words. < 0: a goes
 * first. */
int version_compare(const char *a, const char *b);
struct custom *custom_ref(struct custom *c);
void custom_unref(struct custom *c); /* NULL is fine */

/* One step of a path, on the stack of a walker. */
struct frame {
    const struct frame *up;
    const char *name; /* member, or map key when is_key */
    size_t index;     /* of a list, when name is NULL */
    bool is_key;      /* printed as [key] */
};
/* "spec.containers[0].name"; key frames as .key (decode) or [key] (validation). */
void frame_print(const struct frame *f, bool dotted_keys, struct strbuf *out);

uint32_t schema_hash(const char *name, size_t n); /* of any text: FNV-1a */
uint32_t field_hash(const char *name, size_t n);
const struct field *schema_field(const struct schema *s, const char *name, size_t n);
static inline size_t field_index(const struct schema *s, const struct field *f)
{
    return (size_t)(f - s->fields);
}
/* Members of a tree's object by field index; unknown members are left out. slots has
 * SCHEMA_FIELDS_MAX entries. */
void schema_slots(const struct schema *s, const cJSON *object, cJSON **slots);

/* parse.c: fills api from the embedded files. */
int schema_parse(struct api *api, struct error *err);

/* wire.c: the order of the fields in protobuf, of all types. */
void schema_order_wire(struct api *api);

/* Named functions that .api files refer to; NULL when there is none. */
default_fn *default_find(struct str name);
rule_fn *rule_find(struct str name);
update_fn *update_find(struct str name);
check_fn *check_find(struct str name);
const struct format *format_find(struct str name);
struct cell;
const struct cell *cell_find(struct str name);

bool value_is_empty(const cJSON *item);      /* absent, null, "", 0, false, [] or {} */
const char *value_string(const cJSON *item); /* "" when absent or no string */

/* Two values of a field, either may be NULL (absent); as schema_equal. */
bool field_equal(const struct field *f, const cJSON *a, const cJSON *b);
const struct schema *schema_of_definition(
    const struct api *api, const char *package, const char *name);

/*
 * The members of an object by name, for loops over objects that a client may have made big: a hash
 * table when there are many, nothing when there are few. `more` members may be added through it.
 */
struct members {
    cJSON *object;
    cJSON **slots; /* NULL: search the object */
    size_t mask;
};
struct members members_of(cJSON *object, size_t more);
void members_done(struct members *m);
cJSON *members_get(const struct members *m, const char *name);
void members_set(struct members *m, const char *name, cJSON *item); /* takes item; replaces */
void members_remove(struct members *m, const char *name);
size_t members_count(const cJSON *object);
#define automembers __attribute__((cleanup(members_done)))
