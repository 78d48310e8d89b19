/*
 * skiff-sim: runs simulated clusters, one a seed, and says whether the invariants held.
 *
 *   skiff-sim [--seed N] [--seeds COUNT] [--kills N] [--verbose]
 *   skiff-sim --converge [--only SCENARIO] ...     the scenarios of convergence.h under faults
 *
 * Each seed runs twice, each time in a child process of its own: the two trace hashes must be
 * equal. Prints `ok` or `not ok` a seed.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "common/flags.h"
#include "common/log.h"
#include "common/time.h"
#include "tests/sim/convergence.h"
#include "tests/sim/workload.h"

struct options {
    int64_t seed, seeds, kills;
    bool verbose, once, converge;
    const char *only;
};

struct result {
    uint64_t hash, steps;
    int64_t simulated_ns;
    int failures, kills;
};

static const struct flag flags[] = {
    {"seed", FLAG_INT, offsetof(struct options, seed), "1", "N", "the first seed"},
    {"seeds", FLAG_INT, offsetof(struct options, seeds), "1", "N", "how many"},
    {"kills", FLAG_INT, offsetof(struct options, kills), "6", "N",
        "how many times a component dies"},
    {"once", FLAG_BOOL, offsetof(struct options, once), NULL, NULL,
        "do not run each seed again to compare"},
    {"converge", FLAG_BOOL, offsetof(struct options, converge), NULL, NULL,
        "every controller under every pattern of faults, instead"},
    {"only", FLAG_STRING, offsetof(struct options, only), NULL, "SCENARIO", "of --converge"},
    {"verbose", FLAG_BOOL, offsetof(struct options, verbose), NULL, NULL, "print the trace"},
};

static struct result run_seed(const struct options *o, uint64_t seed)
{
    struct sim *sim = sim_new(seed);
    struct cluster *c = xcalloc(1, sizeof(*c));
    cluster_start(c, sim, (int)o->kills);
    struct result r = {.failures = workload_run(c)};
    r.hash = sim_hash(sim);
    r.steps = sim_steps(sim);
    r.simulated_ns = sim_now_ns(sim);
    for (size_t i = 0; i < COMPONENTS; i++)
        r.kills += c->components[i].kills;
    return r;
}

/* In a child: what a run leaves behind (threads of killed processes, their memory) goes with it. */
static bool run_child(const struct options *o, uint64_t seed, struct result *ret)
{
    int ends[2], status;
    if (pipe(ends) < 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        struct result r = run_seed(o, seed);
        ssize_t n = write(ends[1], &r, sizeof(r));
        _exit(n == sizeof(r) ? 0 : 1);
    }
    close(ends[1]);
    bool ok = pid > 0 && read(ends[0], ret, sizeof(*ret)) == sizeof(*ret);
    close(ends[0]);
    return pid > 0 && waitpid(pid, &status, 0) == pid && ok;
}

static bool check_seed(const struct options *o, uint64_t seed)
{
    struct result first, second;
    if (!run_child(o, seed, &first)) {
        printf("not ok seed %llu: the run crashed\n", (unsigned long long)seed);
        return false;
    }
    bool same = o->once || (run_child(o, seed, &second) && first.hash == second.hash);
    bool good = same && first.failures == 0;
    printf("%s seed %llu: hash %016llx, %llu steps, %.0f simulated seconds, %d kills%s%s\n",
        good ? "ok" : "not ok", (unsigned long long)seed, (unsigned long long)first.hash,
        (unsigned long long)first.steps, (double)first.simulated_ns / NS_PER_S, first.kills,
        first.failures ? ", invariants broken" : "",
        same ? "" : ", the second run was another one");
    fflush(stdout);
    return good;
}

/* --- convergence --- */

static char *run_scenario(uint64_t seed, size_t scenario, enum fault_pattern pattern)
{
    struct sim *sim = sim_new(seed);
    struct cluster *c = xcalloc(1, sizeof(*c));
    c->all_controllers = true;
    cluster_start(c, sim, 0);
    return convergence_run(c, scenario, pattern);
}

/* The end state of a run in a child; NULL when there is none. */
static char *scenario_child(uint64_t seed, size_t scenario, enum fault_pattern pattern)
{
    int ends[2], status = 0;
    struct strbuf text;
    char part[65536];
    ssize_t n;
    if (pipe(ends) < 0)
        return NULL;
    pid_t pid = fork();
    if (pid == 0) {
        char *state = run_scenario(seed, scenario, pattern);
        size_t left = state ? strlen(state) : 0;
        for (const char *p = state; left > 0 && (n = write(ends[1], p, left)) > 0; p += n)
            left -= (size_t)n;
        _exit(state && !left ? 0 : 1);
    }
    close(ends[1]);
    strbuf_init(&text, 0);
    while (pid > 0 && (n = read(ends[0], part, sizeof(part))) > 0)
        strbuf_add(&text, str_range(part, (size_t)n));
    close(ends[0]);
    bool good = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
    char *state = strbuf_steal(&text);
    if (good)
        return state;
    free(state);
    return NULL;
}

/* Lines of one that the other lacks. */
static void print_missing(const char *sign, const char *of, const char *in)
{
    struct str rest = str_of(of), line;
    while (str_split(&rest, '\n', &line))
        if (line.n && !memmem(in, strlen(in), line.p, line.n))
            printf("    %s %.*s\n", sign, STR_FMT(line));
}

static bool check_scenario(
    const struct options *o, size_t scenario, enum fault_pattern pattern, const char *wanted)
{
    bool good = true;
    for (int64_t i = 0; i < o->seeds; i++) {
        char *got = scenario_child((uint64_t)(o->seed + i), scenario, pattern);
        if (!got || strcmp(got, wanted) != 0) {
            printf("not ok %s under %s, seed %lld: %s\n", convergence_name(scenario),
                fault_names[pattern], (long long)(o->seed + i),
                got ? "another end" : "no end, or it crashed");
            if (got)
                print_missing("-", wanted, got), print_missing("+", got, wanted);
            good = false;
        }
        free(got);
    }
    if (good)
        printf("ok %s under %s: %lld seeds end alike\n", convergence_name(scenario),
            fault_names[pattern], (long long)o->seeds);
    fflush(stdout);
    return good;
}

static bool converge(const struct options *o)
{
    bool good = true;
    for (size_t i = 0; i < convergence_count(); i++) {
        if (o->only && !strstr(convergence_name(i), o->only))
            continue;
        char *wanted = scenario_child(1, i, FAULTS_NONE);
        if (!wanted)
            printf("not ok %s without faults: no end, or it crashed\n", convergence_name(i));
        good &= wanted != NULL;
        for (int p = FAULTS_KILLS; wanted && p < FAULT_PATTERNS; p++)
            good &= check_scenario(o, i, (enum fault_pattern)p, wanted);
        if (wanted && o->verbose)
            printf("%s", wanted);
        free(wanted);
    }
    return good;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct error err;
    int first = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &o, &err);
    if (first == FLAGS_HELP)
        return 0;
    if (first < 0) {
        fprintf(stderr, "skiff-sim: %s\n", err.text);
        return 2;
    }
    sim_verbose = o.verbose;
    log_set_level(o.verbose ? LOG_INFO : LOG_ERROR);
    if (o.converge)
        return converge(&o) ? 0 : 1;
    bool good = true;
    for (int64_t i = 0; i < o.seeds; i++)
        good = check_seed(&o, (uint64_t)(o.seed + i)) && good;
    return good ? 0 : 1;
}
