/*
 * Reads roles.policy (embedded in the binary); its syntax is explained on top of that file.
 */
#include "apiserver/auth/policy.h"

#define RBAC "rbac.authorization.k8s.io"

__asm__(".section .rodata\n"
        "policy_text:\n"
        ".incbin \"" AUTH_DIR "/roles.policy\"\n"
        ".byte 0\n"
        ".previous\n");
extern const char policy_text[] __attribute__((visibility("hidden")));

static const struct {
    const char *name, *verbs;
} verb_sets[] = {
    {"read", "get,list,watch"},
    {"write", "create,delete,deletecollection,patch,update"},
    {"readwrite", "create,delete,deletecollection,get,list,patch,update,watch"},
};

static cJSON *split_list(struct str text)
{
    cJSON *array = cJSON_CreateArray();
    struct str part;
    while (text.n && str_split(&text, ',', &part)) {
        autofree char *item = str_dup(part);
        cJSON_AddItemToArray(array, cJSON_CreateString(item));
    }
    return array;
}

static cJSON *verbs_of(struct str word)
{
    for (size_t i = 0; i < ARRAY_COUNT(verb_sets); i++)
        if (str_eqc(word, verb_sets[i].name))
            return split_list(str_of(verb_sets[i].verbs));
    return split_list(word);
}

static struct str next_word(struct str *line)
{
    struct str word;
    *line = str_trim(*line);
    return str_split(line, ' ', &word) ? word : (struct str){0};
}

/* The value of KEY=VALUE, or an empty view. */
static struct str option(struct str word, const char *key)
{
    size_t n = strlen(key);
    return str_starts(word, str_range(key, n)) && word.n > n && word.p[n] == '='
               ? str_range(word.p + n + 1, word.n - n - 1)
               : (struct str){0};
}

static void set_member(cJSON *object, const char *path, struct str value)
{
    autofree char *text = str_dup(value);
    json_set_string_at(object, path, text);
}

static cJSON *new_object(const char *kind, struct str name, struct str namespace_)
{
    cJSON *object =
        json_make("{\"apiVersion\":\"" RBAC "/v1\",\"kind\":\"%s\",\"metadata\":{\"labels\":"
                  "{\"kubernetes.io/bootstrapping\":\"rbac-defaults\"},\"annotations\":"
                  "{\"rbac.authorization.kubernetes.io/autoupdate\":\"true\"}}}",
            kind);
    set_member(object, "metadata.name", name);
    if (namespace_.n)
        set_member(object, "metadata.namespace", namespace_);
    return object;
}

static void add_label(cJSON *object, struct str key)
{
    autofree char *text = str_dup(key);
    json_set_string(json_path(object, "metadata.labels"), text, "true");
}

static void add_aggregation(cJSON *object, struct str key)
{
    autofree char *text = str_dup(key);
    cJSON *rule = json_make("{\"clusterRoleSelectors\":[{\"matchLabels\":{}}]}");
    json_set_string(
        json_get(cJSON_GetArrayItem(json_get(rule, "clusterRoleSelectors"), 0), "matchLabels"),
        text, "true");
    json_set(object, "aggregationRule", rule);
}

static cJSON *start_role(struct str line)
{
    struct str name = next_word(&line), namespace_ = {0}, word;
    struct str rest = line;
    while ((word = next_word(&rest)).n)
        if (option(word, "ns").n)
            namespace_ = option(word, "ns");
    cJSON *role = new_object(namespace_.n ? "Role" : "ClusterRole", name, namespace_);
    json_set(role, "rules", cJSON_CreateArray());
    while ((word = next_word(&line)).n) {
        if (option(word, "label").n)
            add_label(role, option(word, "label"));
        if (option(word, "from").n)
            add_aggregation(role, option(word, "from"));
    }
    return role;
}

static void add_rule(cJSON *role, struct str line)
{
    cJSON *rule = cJSON_CreateObject();
    struct str verbs = next_word(&line), group = next_word(&line), resources = next_word(&line);
    struct str names = option(next_word(&line), "names");
    json_set(rule, "verbs", verbs_of(verbs));
    if (str_eqc(group, "url")) {
        json_set(rule, "nonResourceURLs", split_list(resources));
    } else {
        cJSON *groups = str_eqc(group, "-") ? json_make("[\"\"]") : split_list(group);
        json_set(rule, "apiGroups", groups);
        json_set(rule, "resources", split_list(resources));
        if (names.n)
            json_set(rule, "resourceNames", split_list(names));
    }
    cJSON_AddItemToArray(json_get(role, "rules"), rule);
}

static void add_subject(cJSON *binding, struct str word)
{
    struct str name = str_range(word.p + 2, word.n - 2), namespace_;
    cJSON *subject = cJSON_CreateObject();
    if (word.p[0] == 's') {
        str_split(&name, ':', &namespace_);
        json_set_string(subject, "kind", "ServiceAccount");
        set_member(subject, "namespace", namespace_);
    } else {
        json_set_string(subject, "kind", word.p[0] == 'g' ? "Group" : "User");
        json_set_string(subject, "apiGroup", RBAC);
    }
    set_member(subject, "name", name);
    cJSON_AddItemToArray(json_get(binding, "subjects"), subject);
}

static cJSON *make_binding(struct str line)
{
    struct str role = next_word(&line), name = role, namespace_ = {0}, word, rest = line;
    while ((word = next_word(&rest)).n) {
        if (option(word, "ns").n)
            namespace_ = option(word, "ns");
        if (option(word, "as").n)
            name = option(word, "as");
    }
    cJSON *binding =
        new_object(namespace_.n ? "RoleBinding" : "ClusterRoleBinding", name, namespace_);
    json_set_string_at(binding, "roleRef.apiGroup", RBAC);
    json_set_string_at(binding, "roleRef.kind", namespace_.n ? "Role" : "ClusterRole");
    set_member(binding, "roleRef.name", role);
    json_set(binding, "subjects", cJSON_CreateArray());
    while ((word = next_word(&line)).n)
        if (word.n > 2 && word.p[1] == ':')
            add_subject(binding, word);
    return binding;
}

static int finish_role(
    cJSON **role, int (*fn)(void *, const cJSON *, struct error *), void *arg, struct error *err)
{
    int result = *role ? fn(arg, *role, err) : 0;
    cJSON_Delete(*role);
    *role = NULL;
    return result;
}

int policy_walk(
    int (*fn)(void *arg, const cJSON *object, struct error *err), void *arg, struct error *err)
{
    struct str rest = str_of(policy_text), line;
    cJSON *role = NULL;
    int result = 0;
    while (result == 0 && str_split(&rest, '\n', &line)) {
        bool indented = line.n && line.p[0] == ' ';
        line = str_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (indented) {
            add_rule(role, line);
            continue;
        }
        result = finish_role(&role, fn, arg, err);
        struct str word = next_word(&line);
        if (result == 0 && str_eqc(word, "role")) {
            role = start_role(line);
        } else if (result == 0) {
            autojson cJSON *binding = make_binding(line);
            result = fn(arg, binding, err);
        }
    }
    int last = finish_role(&role, fn, arg, err);
    return result < 0 ? result : last;
}
