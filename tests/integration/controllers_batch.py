#!/usr/bin/env python3
"""
Goal: CronJobs, ReplicationControllers and disruption budgets do what their objects ask for; bad ones cause no storm of requests.
Method: a real API server, scheduler and controller manager; pods run on hollow nodes.
"""
import os, re, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from apiserver import check, equal, finish
from controllers import APPS, PODS, Cluster, template, workload

BATCH = "/apis/batch/v1/namespaces/default/"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


def events(c, name):
    return {e["reason"]: e for e in c.items("/api/v1/namespaces/default/events") if e["involvedObject"]["name"] == name}


def job_spec(**spec):
    return {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x:1"}]}}, **spec}


def cron_job(name, schedule, job=None, **spec):
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
            "spec": {"schedule": schedule, "jobTemplate": {"metadata": {"labels": {"of": name}}, "spec": job or job_spec()}, **spec}}


def jobs_of(c, name):
    return [j for j in c.items(BATCH + "jobs") if j["metadata"].get("labels", {}).get("of") == name]


def finish_jobs(c, name, phase="Succeeded"):
    """What a real container would do: hollow pods run for ever."""
    for p in c.items(PODS):
        if any(p["metadata"]["labels"].get("job-name") == j["metadata"]["name"] for j in jobs_of(c, name)):
            c.patch(PODS + "/" + p["metadata"]["name"] + "/status", {"status": {"phase": phase}})


def budgets(c):
    c.create(APPS + "deployments", workload("Deployment", "web", 4))
    c.create(BUDGETS, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
                       "spec": {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "web"}}}})

    def status(name="web"):
        return c.get(BUDGETS + "/" + name)["status"]
    c.wait("a budget is summed up", lambda: status()["disruptionsAllowed"] == 1)
    s = status()
    equal("its sums", (s["expectedPods"], s["desiredHealthy"], s["currentHealthy"], s["observedGeneration"]), (4, 3, 4, 1))
    equal("its condition", [(x["type"], x["status"], x["reason"]) for x in s["conditions"]],
          [("DisruptionAllowed", "True", "SufficientPods")])
    c.patch(APPS + "deployments/web", {"spec": {"replicas": 2}})
    c.wait("it follows the scale", lambda: status()["expectedPods"] == 2 and status()["desiredHealthy"] == 1 and status()["disruptionsAllowed"] == 1)
    pod = next(p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "web")["metadata"]["name"]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    c.patch(BUDGETS + "/web/status", {"status": {"disruptedPods": {pod: now, "gone": now}}})
    c.wait("a pod on its way out does not count", lambda: status()["currentHealthy"] == 1 and status()["disruptionsAllowed"] == 0)
    equal("one that is gone is forgotten", list(status()["disruptedPods"]), [pod])
    c.patch(BUDGETS + "/web/status", {"status": {"disruptedPods": {pod: "2020-01-01T00:00:00Z"}}})
    c.wait("nor is one that stayed kept", lambda: status().get("disruptedPods") is None and status()["currentHealthy"] == 2)
    c.create(PODS, {"metadata": {"name": "lone", "labels": {"app": "lone"}}, "spec": template("lone")["spec"]})
    c.create(BUDGETS, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "lone"},
                       "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "lone"}}}})
    c.wait("a number needs no controller", lambda: status("lone")["currentHealthy"] == 1 and status("lone")["expectedPods"] == 1)
    c.patch(BUDGETS + "/lone", {"spec": {"minAvailable": "50%"}})
    c.wait("a percentage does: unmanaged pods are told", lambda: "UnmanagedPods" in events(c, "lone"))
    c.create(BATCH + "jobs", {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"}, "spec": job_spec()})
    c.create(BUDGETS, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "sum"},
                       "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"job-name": "sum"}}}})
    c.wait("pods whose controller has no scale are a failure", lambda: any(
        x["reason"] == "SyncFailed" and x["message"] == "jobs.batch does not implement the scale subresource"
        for x in status("sum")["conditions"]))


def replication_controllers(c):
    path = "/api/v1/namespaces/default/replicationcontrollers"
    c.create(path, {"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
                    "spec": {"replicas": 2, "selector": {"app": "old"}, "template": template("old")}})
    c.wait("a ReplicationController gets its pods", lambda: c.get(path + "/old")["status"].get("availableReplicas") == 2)
    pods = [p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "old"]
    equal("... and owns them", {p["metadata"]["ownerReferences"][0]["kind"] for p in pods}, {"ReplicationController"})
    c.patch(PODS + "/" + pods[0]["metadata"]["name"], {"metadata": {"labels": {"app": "free"}}})
    c.wait("a relabelled pod is released and replaced", lambda: len(
        [p for p in c.items(PODS) if p["metadata"]["labels"].get("app") == "old"]) == 2 and not c.get(
        PODS + "/" + pods[0]["metadata"]["name"])["metadata"].get("ownerReferences"))
    c.patch(path + "/old", {"spec": {"replicas": 0}})
    c.wait("it shrinks", lambda: c.get(path + "/old")["status"]["replicas"] == 0)
    c.delete(path + "/old")


def cron_jobs(c):
    c.create(BATCH + "cronjobs", cron_job("often", "@every 1s", concurrencyPolicy="Forbid", successfulJobsHistoryLimit=1,
                                          failedJobsHistoryLimit=1))
    c.wait("a CronJob makes a Job", lambda: len(jobs_of(c, "often")) == 1)
    job = jobs_of(c, "often")[0]
    check("named by the minute", re.fullmatch(r"often-\d{8}", job["metadata"]["name"]), job["metadata"]["name"])
    equal("owned", job["metadata"]["ownerReferences"][0]["kind"], "CronJob")
    check("with its time", re.fullmatch(r"20..-..-..T..:..:..Z", job["metadata"]["annotations"].get(
        "batch.kubernetes.io/cronjob-scheduled-timestamp", "")), job["metadata"]["annotations"])
    c.wait("it is listed as active", lambda: c.get(BATCH + "cronjobs/often")["status"]["active"][0]["name"] == job["metadata"]["name"])
    equal("there is no second one in the same minute", len(jobs_of(c, "often")), 1)

    def ended():
        finish_jobs(c, "often")
        s = c.get(BATCH + "cronjobs/often")["status"]
        return s.get("lastSuccessfulTime") and not s.get("active")
    c.wait("a finished Job leaves the list", ended)
    c.patch(BATCH + "cronjobs/often", {"spec": {"suspend": True}})
    for minute in range(3):
        done = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "often-%d" % minute, "labels": {"of": "often"},
                "ownerReferences": job["metadata"]["ownerReferences"]}, "spec": job_spec(parallelism=0, completions=0)}
        c.create(BATCH + "jobs", done)
    c.wait("history is cut to its limit", lambda: len(jobs_of(c, "often")) == 1)
    c.create(BATCH + "cronjobs", cron_job("never", "0 0 30 2 *"))
    c.wait("a schedule that never fires is told", lambda: "InvalidSchedule" in events(c, "never"))
    c.delete(BATCH + "cronjobs/often")
    c.wait("with the CronJob go its Jobs", lambda: not jobs_of(c, "often"))
    c.create(BATCH + "jobs", {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "brief"},
                              "spec": job_spec(completions=0, ttlSecondsAfterFinished=1)})
    c.wait("a Job goes when its time to live is over", lambda: c.get(BATCH + "jobs/brief") is None)


def pods_of(c, job):
    return sorted((p for p in c.items(PODS) if p["metadata"]["labels"].get("job-name") == job),
                  key=lambda p: p["metadata"]["creationTimestamp"])


def end_pod(c, pod, code):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 30))
    c.patch(PODS + "/" + pod["metadata"]["name"] + "/status", {"status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": [
        {"name": "c", "ready": False, "restartCount": 0, "image": "x:1", "imageID": "", "state": {"terminated": {"exitCode": code, "finishedAt": now}}}]}})


def job(c, name, **spec):
    path = BATCH + "jobs"
    c.create(path, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job_spec(**spec)})
    wanted = min(spec.get("parallelism", 1), spec.get("completions", 1))
    c.wait("job %s runs" % name, lambda: len(pods_of(c, name)) == wanted, quiet=True)
    return lambda: c.get(path + "/" + name)["status"]


def ends(s, kind, reason):
    return any(x["type"] == kind and x["status"] == "True" and x["reason"] == reason for x in s().get("conditions", []))


def job_policies(c):
    exits = lambda action, code: {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [code]}}]}
    s = job(c, "fail", podFailurePolicy=exits("FailJob", 42))
    end_pod(c, pods_of(c, "fail")[0], 42)
    c.wait("an exit code fails the Job", lambda: ends(s, "Failed", "PodFailurePolicy"))
    s = job(c, "ignore", podFailurePolicy=exits("Ignore", 42), backoffLimit=0)
    end_pod(c, pods_of(c, "ignore")[0], 42)
    c.wait("another is ignored", lambda: len(pods_of(c, "ignore")) == 2 and not s().get("failed"))
    end_pod(c, next(p for p in pods_of(c, "ignore") if p["status"]["phase"] != "Failed"), 1)
    c.wait("... a third one counts", lambda: ends(s, "Failed", "BackoffLimitExceeded") and s()["failed"] == 1)
    s = job(c, "each", completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=1)
    index = lambda p: p["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]
    first = next(p for p in pods_of(c, "each") if index(p) == "1")
    end_pod(c, first, 1)
    c.wait("an index is tried again", lambda: any(p["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
                                                 for p in pods_of(c, "each")))
    equal("... and its failure counted", s().get("failed"), 1) if c.wait("counted", lambda: s().get("failed") == 1, quiet=True) else None
    again = next(p for p in pods_of(c, "each") if p["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1")
    end_pod(c, again, 1)
    c.wait("... then given up", lambda: s().get("failedIndexes") == "1")
    end_pod(c, next(p for p in pods_of(c, "each") if index(p) == "0"), 0)
    c.wait("the other one still completes; the Job fails", lambda: ends(s, "Failed", "FailedIndexes") and s()["completedIndexes"] == "0" and s()["failed"] == 2)
    s = job(c, "leader", completionMode="Indexed", completions=3, parallelism=3, successPolicy={"rules": [{"succeededIndexes": "0"}]})
    end_pod(c, next(p for p in pods_of(c, "leader") if index(p) == "0"), 0)
    c.wait("a success policy ends the Job", lambda: ends(s, "Complete", "SuccessPolicy") and s()["succeeded"] == 1)
    c.wait("... and its other pods", lambda: [index(p) for p in pods_of(c, "leader")] == ["0"])
    s = job(c, "pause", suspend=False)
    c.patch(BATCH + "jobs/pause", {"spec": {"suspend": True}})
    c.wait("a suspended Job has no pods", lambda: not pods_of(c, "pause") and "startTime" not in s() and ends(s, "Suspended", "JobSuspended"))
    c.patch(BATCH + "jobs/pause", {"spec": {"suspend": False}})
    c.wait("resumed it has one", lambda: len(pods_of(c, "pause")) == 1 and s()["startTime"])
    for name in ("fail", "ignore", "each", "leader", "pause"):
        c.delete(BATCH + "jobs/" + name, "Background")
    c.wait("nothing is left of the Jobs", lambda: not any(p["metadata"]["labels"].get("job-name") in (
        "fail", "ignore", "each", "leader", "pause") for p in c.items(PODS)))


def no_storm(c):
    """The budget that can't be summed, the unmanaged one, the bad CronJobs are still there."""
    time.sleep(1)
    before, started = int(c.get("/api/v1/namespaces/default")["metadata"]["resourceVersion"]), time.time()
    before = int(c.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})["metadata"]["resourceVersion"])
    time.sleep(3)
    after = int(c.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "b"}})["metadata"]["resourceVersion"])
    rate = (after - before - 1) / (time.time() - started)
    check("bad objects cause few writes: %.1f/s" % rate, rate < 5)


with Cluster(nodes=2) as cluster:
    budgets(cluster)
    replication_controllers(cluster)
    cron_jobs(cluster)
    no_storm(cluster)
with Cluster(nodes=0) as cluster:  # pods end as the script says
    job_policies(cluster)
finish()
