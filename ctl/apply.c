/*
 * skiffctl apply: makes objects as their manifests say, or changes what differs.
 *
 * As kubectl's client-side apply, so both can be used in turn: the annotation
 * last-applied-configuration remembers the manifest; what stood there and stands no more is
 * removed, everything else of the object is left alone. The change is sent as a strategic merge
 * patch.
 *
 * With --server-side the server does it all: it knows by managedFields who owns what, and refuses
 * to take a field from another manager unless forced.
 */
#include "ctl/apply.h"
#include "ctl/session.h"

#define DEFAULT_MANAGER "skiffctl"
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"

struct apply_flags {
    struct common_flags common;
    struct flag_strings files;
    bool server_side, force;
    const char *manager;
};

/* Lists that the server merges item by item, with the member that identifies an item. All others
 * are replaced. */
static const struct {
    const char *list, *key;
} merge_keys[] = {
    {"containers", "name"},
    {"initContainers", "name"},
    {"ephemeralContainers", "name"},
    {"volumes", "name"},
    {"env", "name"},
    {"imagePullSecrets", "name"},
    {"volumeMounts", "mountPath"},
    {"volumeDevices", "devicePath"},
    {"hostAliases", "ip"},
    {"topologySpreadConstraints", "topologyKey"},
    {"secrets", "name"},
    {"webhooks", "name"},
    {"matchConditions", "name"},
    {"schedulingGates", "name"},
    {"resourceClaims", "name"},
    {"ownerReferences", "uid"},
};

static const char *merge_key(const char *list, const cJSON *array)
{
    if (c_eq(list, "ports")) /* a pod's and a Service's differ */
        return json_get(array->child, "containerPort") ? "containerPort" : "port";
    for (size_t i = 0; i < ARRAY_COUNT(merge_keys); i++)
        if (c_eq(list, merge_keys[i].list))
            return merge_keys[i].key;
    return NULL;
}

static cJSON *find_item(cJSON *array, const char *key, const cJSON *value)
{
    cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        if (json_equal(json_get(item, key), value))
            return item;
    }
    return NULL;
}

static void mark_removed(cJSON *patch, const cJSON *before, bool lists);

static void mark_removed_items(cJSON *patch, const cJSON *before, const char *key)
{
    const cJSON *old;
    cJSON_ArrayForEach(old, before)
    {
        const cJSON *value = json_get(old, key);
        cJSON *now = value ? find_item(patch, key, value) : NULL;
        if (now) {
            mark_removed(now, old, true);
        } else if (value) {
            cJSON *gone = cJSON_CreateObject();
            json_set(gone, key, cJSON_Duplicate(value, true));
            json_set_string(gone, "$patch", "delete");
            cJSON_AddItemToArray(patch, gone);
        }
    }
}

/* Adds to patch (the new manifest) a null for each member of before (the last one) that it lacks,
 * deep; with `lists` also a mark for each item that is gone from a list that the server merges. */
static void mark_removed(cJSON *patch, const cJSON *before, bool lists)
{
    const cJSON *old;
    cJSON_ArrayForEach(old, before)
    {
        cJSON *now = json_get(patch, old->string);
        const char *key =
            lists && cJSON_IsArray(now) && old->child ? merge_key(old->string, old) : NULL;
        if (!now)
            json_set(patch, old->string, cJSON_CreateNull());
        else if (cJSON_IsObject(now) && cJSON_IsObject(old))
            mark_removed(now, old, lists);
        else if (key && cJSON_IsArray(old))
            mark_removed_items(now, old, key);
    }
}

/* A strategy of another type does not go with the old one's parameters, which the server may have
 * filled in. */
static void replace_strategy(cJSON *patch, const cJSON *current)
{
    cJSON *strategy = json_path(patch, "spec.strategy");
    const cJSON *member;
    if (!c_eq(json_string(patch, "kind"), "Deployment") || !json_string(strategy, "type") ||
        c_eq(json_string(strategy, "type"), json_string_at(current, "spec.strategy.type")))
        return;
    cJSON_ArrayForEach(
        member, json_path(current, "spec.strategy")) if (!json_get(strategy, member->string))
        json_set(strategy, member->string, cJSON_CreateNull());
}

void apply_annotate(cJSON *object)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    cJSON *metadata = json_get(object, "metadata");
    strbuf_init(&text, 0);
    if (!cJSON_IsObject(json_get(metadata, "annotations")))
        json_set(metadata, "annotations", cJSON_CreateObject());
    json_remove(json_get(metadata, "annotations"), LAST_APPLIED);
    autojson cJSON *sorted = cJSON_Duplicate(object, true);
    json_sort(sorted); /* as kubectl writes it, so that each finds its own text */
    json_print(sorted, &text);
    strbuf_add_char(&text, '\n');
    json_set_string(json_get(metadata, "annotations"), LAST_APPLIED, text.data);
}

cJSON *apply_patch(const cJSON *manifest, const cJSON *current, bool strategic)
{
    const char *text = json_string(json_path(current, "metadata.annotations"), LAST_APPLIED);
    bool lists = strategic &&
                 !c_eq(json_string(manifest, "kind"), "EndpointSlice"); /* its ports are replaced */
    autojson cJSON *before = NULL;
    struct error err;
    cJSON *patch = cJSON_Duplicate(manifest, true);
    if (text && json_parse(str_of(text), &before, &err) == 0)
        mark_removed(patch, before, lists);
    if (strategic)
        replace_strategy(patch, current);
    return patch;
}

static int apply_existing(struct session *s, const struct api_ref *ref, const cJSON *manifest,
    const cJSON *current, const char **ret_verb, struct error *err)
{
    autojson cJSON *patch = apply_patch(manifest, current, true);
    autojson cJSON *result = NULL;
    int r = api_patch(s->client.api, ref, PATCH_STRATEGIC, patch, &result, err);
    if (r == -ERR_UNSUPPORTED_MEDIA) { /* a custom kind: no strategic merge there */
        autojson cJSON *plain = apply_patch(manifest, current, false);
        r = api_patch(s->client.api, ref, PATCH_MERGE, plain, &result, err);
    }
    if (r < 0)
        return r;
    *ret_verb = c_eq(json_string_at(result, "metadata.resourceVersion"),
                    json_string_at(current, "metadata.resourceVersion"))
                    ? "unchanged"
                    : "configured";
    return 0;
}

/* As a client: get, then create or patch. */
static int apply_here(struct session *s, const struct ctl_resource *r, const struct api_ref *ref,
    cJSON *manifest, const char **ret_verb, struct error *err)
{
    struct api_ref collection = resource_ref(r, ref->namespace_, NULL);
    autojson cJSON *current = NULL;
    apply_annotate(manifest);
    int result = api_get(s->client.api, ref, &current, err);
    *ret_verb = "created";
    if (result == -ERR_NOT_FOUND) {
        result = api_call(s->client.api, "POST", &collection,
            "fieldValidation=Strict&fieldManager=skiffctl", manifest, NULL, err);
        if (result == -ERR_ALREADY_EXISTS) /* somebody was faster */
            result = api_get(s->client.api, ref, &current, err);
    }
    if (result == 0 && current)
        result = apply_existing(s, ref, manifest, current, ret_verb, err);
    return result;
}

static int apply_there(const struct apply_flags *f, struct session *s, const struct api_ref *ref,
    const cJSON *manifest, const char **ret_verb, struct error *err)
{
    *ret_verb = "serverside-applied";
    struct error why;
    int r = api_apply(s->client.api, ref, f->manager, f->force, manifest, NULL, &why);
    if (r == -ERR_CONFLICT && !f->force)
        return error_set(err, ERR_CONFLICT,
            "%.900s; leave these fields out, or take them over with --force-conflicts", why.text);
    *err = r < 0 ? why : *err;
    return r;
}

static int apply_one(
    const struct apply_flags *f, struct session *s, cJSON *manifest, struct error *err)
{
    const char *name = json_string_at(manifest, "metadata.name"), *verb;
    const struct ctl_resource *r;
    if (!name || !*name)
        return error_set(
            err, ERR_BAD_REQUEST, "%s: metadata.name is missing", json_string(manifest, "kind"));
    if (resource_map_find_kind(&s->map, json_string(manifest, "apiVersion"),
            json_string(manifest, "kind"), &r, err) < 0)
        return error_wrap(err, "%s", name);
    const char *namespace_;
    if (session_manifest_namespace(s, manifest, &namespace_, err) < 0)
        return error_wrap(err, "%s", name);
    if (r->namespaced && !json_string_at(manifest, "metadata.namespace"))
        json_set_string_at(
            manifest, "metadata.namespace", namespace_); /* else namespace_ is that very string */
    struct api_ref ref = resource_ref(r, namespace_, name);
    autofree char *label = resource_label(r, name);
    int result = f->server_side ? apply_there(f, s, &ref, manifest, &verb, err)
                                : apply_here(s, r, &ref, manifest, &verb, err);
    if (result < 0)
        return error_wrap(err, "%s", label);
    printf("%s %s\n", label, verb);
    return 0;
}

static int apply_run(void *config, int argc, char **argv)
{
    struct apply_flags *f = config;
    struct session s;
    struct error err;
    autojson cJSON *manifests = NULL;
    if (argc > 0 || f->files.count == 0)
        return command_fail(EXIT_WRONG_USAGE, argc > 0
                                                  ? "apply takes no arguments; name files with -f"
                                                  : "apply needs -f FILE, FOLDER or -");
    if (!f->server_side && (f->force || !c_eq(f->manager, DEFAULT_MANAGER)))
        return command_fail(EXIT_WRONG_USAGE, "%s goes with --server-side",
            f->force ? "--force-conflicts" : "--field-manager");
    (void)argv;
    if (manifests_read(&f->files, &manifests, &err) < 0 || session_open(&f->common, &s, &err) < 0)
        return session_fail(&err);
    int failed = 0;
    cJSON *manifest;
    cJSON_ArrayForEach(manifest, manifests)
    {
        if (apply_one(f, &s, manifest, &err) < 0) {
            fflush(stdout);
            session_fail(&err);
            failed = 1;
        }
    }
    session_close(&s);
    return failed ? EXIT_REQUEST_FAILED : EXIT_DONE;
}

static const struct flag apply_flag_table[] = {
    {"filename,f", FLAG_STRINGS, offsetof(struct apply_flags, files), NULL, "FILE|FOLDER|-",
        "manifests; may be given several times"},
    {"server-side", FLAG_BOOL, offsetof(struct apply_flags, server_side), NULL, NULL,
        "let the server merge and remember whose each field is"},
    {"field-manager", FLAG_STRING, offsetof(struct apply_flags, manager), DEFAULT_MANAGER, "NAME",
        "with --server-side: who owns the fields"},
    {"force-conflicts", FLAG_BOOL, offsetof(struct apply_flags, force), NULL, NULL,
        "with --server-side: take over fields that others own"},
    COMMON_FLAGS(struct apply_flags, common),
};

const struct command command_apply = {
    .name = "apply",
    .usage = "-f FILE|FOLDER|- [--server-side [--field-manager NAME] [--force-conflicts]]",
    .summary = "make objects as their manifests say",
    .help =
        "Creates the objects of YAML or JSON manifests, or changes those that exist to what the "
        "manifests say.\n\n"
        "Examples:\n  skiffctl apply -f manifests/guestbook\n  cat pod.yaml | skiffctl apply -f "
        "-\n  "
        "skiffctl apply -f web.yaml --server-side --field-manager=deployer",
    .flags = apply_flag_table,
    .flag_count = ARRAY_COUNT(apply_flag_table),
    .config_size = sizeof(struct apply_flags),
    .run = apply_run,
};
