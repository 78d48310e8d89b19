/*
 * skiff-sim: runs simulated clusters, one a seed, and says whether the invariants held.
 *
 *   skiff-sim [--seed N] [--seeds COUNT] [--kills N] [--verbose]
 *
 * Each seed runs twice, each time in a child process of its own: the two trace hashes must be
 * equal. Prints `ok` or `not ok` a seed.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "common/flags.h"
#include "common/log.h"
#include "common/time.h"
#include "tests/sim/workload.h"

struct options {
    int64_t seed, seeds, kills;
    bool verbose, once;
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
    bool good = true;
    for (int64_t i = 0; i < o.seeds; i++)
        good = check_seed(&o, (uint64_t)(o.seed + i)) && good;
    return good ? 0 : 1;
}
