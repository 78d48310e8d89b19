/* The marker file, the folder's name, ports and the list of daemons. */
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "ctl/cluster.h"

static void marker(void)
{
    char dir[] = "/tmp/skiff-marker.XXXXXX";
    struct cluster c, again;
    struct error err;
    struct stat st;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    autofree char *absent = str_format("%s/absent", dir), *path = str_format("%s/.skiff", dir);
    CU_ASSERT_EQUAL(cluster_load(dir, &c, &err), -ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(cluster_load(absent, &c, &err), -ERR_NOT_FOUND);
    autofree char *foreign = str_format("%s/letter.txt", dir);
    CU_ASSERT_EQUAL(file_write(foreign, STR("dear"), 0600, &err), 0);
    CU_ASSERT_EQUAL(cluster_load(dir, &c, &err), -ERR_BAD_REQUEST);

    c = (struct cluster){.dir = xstrdup(dir),
        .id = xstrdup("abcdefgh"),
        .joined = true,
        .bootstrapped = true,
        .etcd = true,
        .etcd_servers = xstrdup("http://127.0.0.1:2379"),
        .server = xstrdup("https://192.0.2.2:6443"),
        .secure_port = 7443,
        .node_name = xstrdup("n"),
        .node_ip = xstrdup("192.0.2.3"),
        .hollow_nodes = 5};
    CU_ASSERT_EQUAL(cluster_save(&c, &err), 0);
    CU_ASSERT(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    CU_ASSERT_EQUAL_FATAL(cluster_load(dir, &again, &err), 0);
    CU_ASSERT_STRING_EQUAL(again.id, c.id);
    CU_ASSERT_STRING_EQUAL(again.server, c.server);
    CU_ASSERT_STRING_EQUAL(again.etcd_servers, c.etcd_servers);
    CU_ASSERT_STRING_EQUAL(again.node_name, c.node_name);
    CU_ASSERT_STRING_EQUAL(again.node_ip, c.node_ip);
    CU_ASSERT_PTR_NULL(again.docker_endpoint);
    CU_ASSERT(again.joined && again.bootstrapped && again.etcd && !again.control_plane_only);
    CU_ASSERT_EQUAL(again.secure_port, 7443);
    CU_ASSERT_EQUAL(again.hollow_nodes, 5);
    cluster_done(&again);

    CU_ASSERT_EQUAL(file_write(path, STR("{\"format\":9,\"id\":\"abcdefgh\"}"), 0600, &err), 0);
    CU_ASSERT_EQUAL(cluster_load(dir, &again, &err), -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(file_write(path, STR("{\"format\":"), 0600, &err), 0);
    CU_ASSERT(cluster_load(dir, &again, &err) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
    cluster_done(&c);
    CU_ASSERT_EQUAL(file_remove_tree(dir, &err), 0);
}

static void folder_names(void)
{
    static const struct {
        const char *flag, *dir; /* NULL: refused */
    } cases[] = {{"/var/lib/skiff", "/var/lib/skiff"}, {"/a/b//", "/a/b"}, {"/", NULL}, {"", NULL},
        {"a/b", NULL}, {"/a b", NULL}, {"/a\"b", NULL}, {"/a%b", NULL}, {"/a\nb", NULL},
        {"/a_b-c.d@e", "/a_b-c.d@e"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *dir = NULL;
        struct error err;
        int result = cluster_dir(cases[i].flag, &dir, &err);
        CU_ASSERT_EQUAL(result, cases[i].dir ? 0 : -ERR_USAGE);
        if (cases[i].dir)
            CU_ASSERT_STRING_EQUAL(dir, cases[i].dir);
    }
}

static void node_names(void)
{
    static const struct {
        const char *name, *ip;
        bool good;
    } cases[] = {{"node-1.example", "192.0.2.1", true}, {"Node", "192.0.2.1", false},
        {"a_b", "192.0.2.1", false}, {"-a", "192.0.2.1", false}, {"a", "192.0.2", false},
        {"a", "192.0.2.1/24", false}, {"a", "", false}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct cluster c = {.node_name = (char *)cases[i].name, .node_ip = (char *)cases[i].ip};
        struct error err;
        CU_ASSERT_EQUAL(cluster_check_node(&c, &err), cases[i].good ? 0 : -ERR_USAGE);
    }
}

static void ports(void)
{
    struct cluster usual = {.secure_port = 6443}, other = {.secure_port = 20000};
    CU_ASSERT_EQUAL(cluster_port(&usual, PORT_APISERVER), 6443);
    CU_ASSERT_EQUAL(cluster_port(&usual, PORT_KUBELET), 10250);
    CU_ASSERT_EQUAL(cluster_port(&usual, PORT_DNS), 10053);
    CU_ASSERT_EQUAL(cluster_port(&other, PORT_APISERVER), 20000);
    CU_ASSERT_EQUAL(cluster_port(&other, PORT_DNS_HEALTH), 20006);
}

/* "apiserver controller-manager ..."; heap. */
static char *daemons_of(const struct cluster *c)
{
    autojson cJSON *list = daemons_list(c);
    struct strbuf out;
    const cJSON *row;
    strbuf_init(&out, 0);
    cJSON_ArrayForEach(row, list)
    {
        strbuf_addf(&out, "%s%s", out.n ? " " : "", json_string(row, "name"));
        const cJSON *item;
        cJSON_ArrayForEach(item, json_get(row, "argv"))
            CU_ASSERT(!strstr(item->valuestring, "(null)") &&
                      !strstr(item->valuestring, "token"
                                                 "=")); /* whoever may list processes reads these */
    }
    return strbuf_steal(&out);
}

static void daemons(void)
{
    struct cluster c = {.dir = (char *)"/x",
        .id = (char *)"abcdefgh",
        .secure_port = 6443,
        .node_name = (char *)"n",
        .node_ip = (char *)"192.0.2.3",
        .docker_endpoint = (char *)"unix:///d",
        .cni_conf_dir = (char *)"/cni",
        .server = (char *)"https://127.0.0.1:6443"};
    autofree char *all = daemons_of(&c);
    CU_ASSERT_STRING_EQUAL(all, "apiserver controller-manager scheduler kubelet proxy dns");
    c.control_plane_only = true;
    c.hollow_nodes = 2;
    autofree char *plane = daemons_of(&c);
    CU_ASSERT_STRING_EQUAL(plane, "apiserver controller-manager scheduler hollow");
    c.control_plane_only = false;
    c.hollow_nodes = 0;
    c.joined = true;
    autofree char *joined = daemons_of(&c);
    CU_ASSERT_STRING_EQUAL(joined, "kubelet proxy dns");
}

static void processes(void)
{
    CU_ASSERT_FALSE(leftover_is(getpid(), "/tmp"));
    CU_ASSERT_FALSE(leftover_is(1, "/no/such/folder"));
}

const CU_TestInfo cluster_tests[] = {
    {"the marker is kept, and nothing else is taken for it", marker},
    {"folders are absolute and of harmless characters", folder_names},
    {"a node's name and address are checked", node_names},
    {"ports follow the API server's", ports},
    {"each kind of cluster has its daemons", daemons},
    {"a process is no daemon of ours by chance", processes},
    CU_TEST_INFO_NULL,
};
