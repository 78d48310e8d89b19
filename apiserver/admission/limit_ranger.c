/*
 * LimitRanger: the LimitRanges of a namespace give a new pod's containers their default requests
 * and limits, and bound what containers, pods and claims may ask for.
 *
 * Defaults come first, so the bounds hold for them too. All broken bounds are reported at once.
 * Updates of pods are not looked at: what counts can't change there. Upstream:
 * plugin/pkg/admission/limitranger.
 */
#include "apiserver/admission/plugin.h"
#include "common/quantity.h"

/* --- the LimitRanges of a namespace --- */

typedef int range_fn(const cJSON *item, void *arg); /* an item of spec.limits */

static void each_limit(const struct write_context *w, range_fn *fn, void *arg)
{
    const struct resource *r = api_find_plural(w->server->api, "", "limitranges");
    struct str namespace_ = str_of(json_string_at(w->tree, "metadata.namespace")), after = {0};
    struct snapshot *s = snapshot_take(w->cache, r);
    const struct object *o;

    while ((o = snapshot_next(s, namespace_, namespace_, after))) {
        autojson cJSON *tree = object_tree(o);
        const cJSON *item;
        after = o->name;
        cJSON_ArrayForEach(item, json_path(tree, "spec.limits"))
        {
            fn(item, arg);
        }
    }
    snapshot_free(s);
}

static bool has_limits(const struct write_context *w)
{
    const struct resource *r = api_find_plural(w->server->api, "", "limitranges");
    struct snapshot *s = snapshot_take(w->cache, r);
    size_t count = snapshot_count(s, str_of(json_string_at(w->tree, "metadata.namespace")));

    snapshot_free(s);
    return count > 0;
}

/* --- defaults --- */

/* The names of what was set, "cpu, memory". */
struct defaulted {
    struct strbuf requests, limits;
};

static void set_missing(
    cJSON *container, const char *list, const cJSON *values, struct strbuf *names)
{
    const cJSON *value;

    cJSON_ArrayForEach(value, values)
    {
        char path[64];
        snprintf(path, sizeof(path), "resources.%s", list);
        if (json_get(json_path(container, path), value->string))
            continue;
        if (!json_path(container, path))
            json_set_at(container, path, cJSON_CreateObject());
        json_set(json_path(container, path), value->string, cJSON_Duplicate(value, true));
        strbuf_addf(names, "%s%s", names->n ? ", " : "", value->string);
    }
}

static int merge_defaults(const cJSON *item, void *arg)
{
    cJSON *into = arg;
    const cJSON *value;
    static const char *const names[] = {"default", "defaultRequest"};

    if (!c_eq(json_string(item, "type"), "Container"))
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        cJSON_ArrayForEach(value, json_get(item, names[i]))
        {
            json_set(json_get(into, names[i]), value->string, cJSON_Duplicate(value, true));
        }
    }
    return 0;
}

static void note(struct strbuf *notes, const struct strbuf *names, const char *what,
    const char *kind, const char *name)
{
    if (names->n)
        strbuf_addf(notes, "%s%s %s for %s %s", notes->n ? "; " : "", names->data, what, kind,
            name ? name : "");
}

static void default_container(
    cJSON *container, const char *kind, const cJSON *defaults, struct strbuf *notes)
{
    autostrbuf struct strbuf requests = STRBUF_EMPTY, limits = STRBUF_EMPTY;
    const char *name = json_string(container, "name");

    set_missing(container, "limits", json_get(defaults, "default"), &limits);
    set_missing(container, "requests", json_get(defaults, "defaultRequest"), &requests);
    note(notes, &requests, "request", kind, name);
    note(notes, &limits, "limit", kind, name);
}

static int limit_ranger_mutate(struct write_context *w, struct error *err)
{
    static const struct {
        const char *list, *kind;
    } lists[] = {{"containers", "container"}, {"initContainers", "init container"}};
    autojson cJSON *defaults = NULL;
    autostrbuf struct strbuf notes = STRBUF_EMPTY;
    cJSON *spec = json_get(w->tree, "spec"), *container;

    (void)err;
    if (w->kind != WRITE_CREATE || !c_eq(w->resource->plural, "pods") || !spec || !has_limits(w))
        return 0;
    defaults = json_make("{\"default\":{},\"defaultRequest\":{}}");
    each_limit(w, merge_defaults, defaults);
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        cJSON_ArrayForEach(container, json_get(spec, lists[i].list))
        {
            default_container(container, lists[i].kind, defaults, &notes);
        }
    }
    if (notes.n) {
        if (!json_path(w->tree, "metadata.annotations"))
            json_set_at(w->tree, "metadata.annotations", cJSON_CreateObject());
        autofree char *text = str_format("LimitRanger plugin set: %s", notes.data);
        json_set_string(
            json_path(w->tree, "metadata.annotations"), "kubernetes.io/limit-ranger", text);
    }
    return 0;
}

/* --- bounds --- */

struct bounds {
    const char *type;               /* of the items that count: "Container", "Pod", ... */
    const cJSON *requests, *limits; /* what is asked for */
    struct strbuf *errors;
    int *count;
};

static bool read_quantity(const cJSON *list, const char *name, struct quantity *ret)
{
    struct error err = {0};
    const char *text = json_string(list, name);

    return text && quantity_parse(str_of(text), ret, &err) == 0;
}

static void add_error(struct bounds *b, const char *text)
{
    strbuf_addf(b->errors, "%s%s", (*b->count)++ ? ", " : "", text);
}

static const char *text_of(const cJSON *list, const char *name)
{
    const char *text = json_string(list, name);
    return text ? text : "";
}

/* sign 1: at least; -1: at most */
static void check_bound(struct bounds *b, const cJSON *bound, int sign)
{
    struct quantity enforced, request, limit;
    const char *name = bound->string, *text = bound->valuestring,
               *word = sign > 0 ? "minimum" : "maximum";
    bool is_claim = c_eq(b->type, "PersistentVolumeClaim");
    struct error err = {0};

    if (!text || quantity_parse(str_of(text), &enforced, &err) < 0)
        return;
    bool has_request = read_quantity(b->requests, name, &request),
         has_limit = read_quantity(b->limits, name, &limit);
    autofree char *head = str_format("%s %s usage per %s is %s", word, name, b->type, text);
    autofree char *line = NULL;
    if (sign < 0 && !is_claim && !has_limit)
        line = str_format("%s.  No limit is specified", head);
    else if ((sign > 0 || is_claim) && !has_request)
        line = str_format("%s.  No request is specified", head);
    else if (has_request && (sign > 0 || is_claim) && sign * quantity_cmp(request, enforced) < 0)
        line = str_format("%s, but request is %s", head, text_of(b->requests, name));
    else if (has_limit && sign * quantity_cmp(limit, enforced) < 0)
        line = str_format("%s, but limit is %s", head, text_of(b->limits, name));
    else if (has_request && sign * quantity_cmp(request, enforced) < 0)
        line = str_format("%s, but request is %s", head, text_of(b->requests, name));
    if (line)
        add_error(b, line);
}

static void check_ratio(struct bounds *b, const cJSON *bound)
{
    struct quantity enforced, request = {0}, limit = {0};
    const char *name = bound->string, *text = bound->valuestring;
    struct error err = {0};
    autofree char *line = NULL;

    if (!text || quantity_parse(str_of(text), &enforced, &err) < 0)
        return;
    autofree char *head =
        str_format("%s max limit to request ratio per %s is %s", name, b->type, text);
    if (!read_quantity(b->requests, name, &request) || request.nano == 0)
        line = str_format("%s, but no request is specified or request is 0", head);
    else if (!read_quantity(b->limits, name, &limit) || limit.nano == 0)
        line = str_format("%s, but no limit is specified or limit is 0", head);
    else if ((double)limit.nano / (double)request.nano > (double)enforced.nano / 1e9)
        line = str_format(
            "%s, but provided ratio is %f", head, (double)limit.nano / (double)request.nano);
    if (line)
        add_error(b, line);
}

static int check_item(const cJSON *item, void *arg)
{
    struct bounds *b = arg;
    const cJSON *bound;

    if (!c_eq(json_string(item, "type"), b->type))
        return 0;
    cJSON_ArrayForEach(bound, json_get(item, "min"))
    {
        check_bound(b, bound, 1);
    }
    cJSON_ArrayForEach(bound, json_get(item, "max"))
    {
        check_bound(b, bound, -1);
    }
    cJSON_ArrayForEach(bound, json_get(item, "maxLimitRequestRatio"))
    {
        check_ratio(b, bound);
    }
    return 0;
}

static void check_containers(const struct write_context *w, struct bounds *b, const char *list)
{
    const cJSON *container;

    b->type = "Container";
    cJSON_ArrayForEach(container, json_path(w->tree, list))
    {
        b->requests = json_path(container, "resources.requests");
        b->limits = json_path(container, "resources.limits");
        each_limit(w, check_item, b);
    }
}

/* --- the sum of a pod: its containers and sidecars together, or the largest init container with
 * the sidecars before it --- */

static void raise_to(cJSON *totals, const char *name, struct quantity q, bool sum)
{
    struct quantity had = {0};
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (read_quantity(totals, name, &had))
        q = sum ? quantity_add(had, q) : quantity_cmp(q, had) > 0 ? q : had;
    quantity_print(q, &text);
    json_set_string(totals, name, text.data);
}

static void add_list(cJSON *totals, const cJSON *list, bool sum)
{
    const cJSON *item;
    struct quantity q;

    cJSON_ArrayForEach(item, list)
    {
        if (read_quantity(list, item->string, &q))
            raise_to(totals, item->string, q, sum);
    }
}

static cJSON *pod_total(const cJSON *spec, const char *list)
{
    cJSON *total = cJSON_CreateObject(), *sidecars = cJSON_CreateObject(),
          *most = cJSON_CreateObject();
    const cJSON *container;
    char path[32];

    snprintf(path, sizeof(path), "resources.%s", list);
    cJSON_ArrayForEach(container, json_get(spec, "containers"))
    {
        add_list(total, json_path(container, path), true);
    }
    cJSON_ArrayForEach(container, json_get(spec, "initContainers"))
    {
        const cJSON *own = json_path(container, path);
        if (c_eq(json_string(container, "restartPolicy"), "Always")) {
            add_list(sidecars, own, true);
            add_list(most, sidecars, false);
        } else {
            autojson cJSON *with = cJSON_Duplicate(sidecars, true);
            add_list(with, own, true);
            add_list(most, with, false);
        }
    }
    add_list(total, sidecars, true);
    add_list(total, most, false);
    cJSON_Delete(sidecars);
    cJSON_Delete(most);
    add_list(total, json_path(spec, path), false); /* resources of the pod as a whole */
    return total;
}

static int limit_ranger_validate(const struct write_context *w, struct error *err)
{
    autostrbuf struct strbuf errors = STRBUF_EMPTY;
    int count = 0;
    struct bounds b = {.errors = &errors, .count = &count};
    const cJSON *spec = json_get(w->tree, "spec");

    if (!admission_is_main(w) || !has_limits(w))
        return 0;
    if (c_eq(w->resource->plural, "pods")) {
        if (w->kind != WRITE_CREATE)
            return 0;
        check_containers(w, &b, "spec.containers");
        check_containers(w, &b, "spec.initContainers");
        autojson cJSON *requests = pod_total(spec, "requests"), *limits = pod_total(spec, "limits");
        b = (struct bounds){"Pod", requests, limits, &errors, &count};
        each_limit(w, check_item, &b);
    } else {
        b.type = "PersistentVolumeClaim";
        b.requests = json_path(spec, "resources.requests");
        b.limits = NULL;
        each_limit(w, check_item, &b);
    }
    if (count == 0)
        return 0;
    autofree char *text =
        count == 1 ? str_dup(strbuf_str(&errors)) : str_format("[%s]", errors.data);
    return admission_refuse_text(w, err, text);
}

static const char *const kinds[] = {"pods", "persistentvolumeclaims", NULL};

const struct admission_plugin admission_limit_ranger = {
    .name = "LimitRanger",
    .resources = kinds,
    .mutate = limit_ranger_mutate,
    .validate = limit_ranger_validate,
};
