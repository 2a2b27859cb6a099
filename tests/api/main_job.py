"""Drives the whole main job over the API, as somebody would who has Python and an address: `main_job.py HOST:PORT`.

The scene (tests/system/python.rs) has a loader `item` and a cache `main`. Ids of which 11 is left when divided by 500
are in the database, but have no form in JSON: they fail. Ends with status 0 where all is as it should be.
"""

import sys

import grpc
from client import Stoke, details

ENTRIES = 10_000
BATCH = 2_000
PATIENCE_S = 120


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def refused(call):
    """The error that a call must end with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was not refused")


def spec(stoke, **fields):
    batch = stoke.message(
        "BatchWork",
        sources=[stoke.message("KeySource", upload=stoke.message("UploadSource"))],
        loaders=[stoke.message("Loader", name="item")],
        cache="main",
        allowed_failures=1000,
    )
    fields = {"labels": {"team": "shop", "by": "python"}, "trigger": "test", **fields}
    return stoke.message("JobSpec", batch=batch, **fields)


def create(stoke, request_id, asked):
    request = stoke.message("CreateJobRequest", request_id=request_id, spec=asked)
    return stoke.jobs.CreateJob(request, timeout=10).job


def upload(stoke, job, ids):
    """Sends entries in batches, the first id the most requested."""

    def parts():
        header = stoke.message("UploadHeader", job=job, source=0)
        yield stoke.message("UploadEntriesRequest", header=header)
        for begin in range(0, len(ids), BATCH):
            some = ids[begin : begin + BATCH]
            entries = stoke.message(
                "EntryBatch",
                keys=[f"item:{n}".encode() for n in some],
                priorities=[1000 * (len(ids) - begin - n) for n in range(len(some))],
                arguments=[str(n) for n in some],
            )
            yield stoke.message("UploadEntriesRequest", entries=entries)

    return stoke.jobs.UploadEntries(parts(), timeout=30).entries


def watch(stoke, job, enough):
    """Watches a job until `enough`, and returns it as it is then."""
    request = stoke.message("WatchJobRequest", name=job)
    watched = stoke.jobs.WatchJob(request, timeout=PATIENCE_S)
    for message in watched:
        if enough(message.job):
            watched.cancel()
            return message.job
    raise AssertionError(f"the watch ended in {stoke.state(message.job.state)}")


def planned_is_settled(job):
    outcomes = job.progress.outcomes
    settled = sum(getattr(outcomes, field.name) for field in outcomes.DESCRIPTOR.fields)
    return job.progress.planned == settled + job.progress.pending


def warms_what_is_uploaded(stoke):
    asked = spec(stoke)
    job = create(stoke, "python/1", asked)
    check(stoke.state(job.state) == "PENDING", "a job waits for its upload")
    check(upload(stoke, job.name, range(1, ENTRIES + 1)) == ENTRIES, "all entries were stored")
    running = watch(stoke, job.name, lambda job: stoke.state(job.state) == "RUNNING")
    check(running.progress.planned == ENTRIES, "the plan has all entries")
    done = watch(stoke, job.name, lambda job: stoke.state(job.state) in ("SUCCEEDED", "FAILED"))
    check(stoke.state(done.state) == "SUCCEEDED", f"it failed: {done.reason}")
    check(done.progress.pending == 0 and planned_is_settled(done), "W1")
    check(done.progress.outcomes.warmed > 0, "something was warmed")

    again = create(stoke, "python/1", asked)
    check(again.name == job.name, "the same request is the same job, though that is over")
    error = refused(lambda: create(stoke, "python/1", spec(stoke, trigger="another")))
    check(error.code() == grpc.StatusCode.ALREADY_EXISTS, error)
    check(details(error)["ErrorInfo"].reason == "REQUEST_ID_TAKEN", error)
    check(details(error)["ResourceInfo"].resource_name == job.name, error)
    return done


def lists_failures(stoke, job):
    request = stoke.message("ListFailuresRequest", name=job.name)
    failures = [
        failure
        for message in stoke.jobs.ListFailures(request, timeout=30)
        for failure in message.failures
    ]
    keys = sorted(int(failure.key.decode().removeprefix("item:")) for failure in failures)
    check(keys == [n for n in range(1, ENTRIES + 1) if n % 500 == 11], keys)
    check(all("weight" in failure.reason for failure in failures), failures[0].reason)
    check(job.progress.outcomes.failed == len(keys), "what is counted is listed")


def exports_the_plan(stoke, job):
    request = stoke.message("ExportPlanRequest", name=job.name)
    keys = []
    for message in stoke.jobs.ExportPlan(request, timeout=30):
        check(message.entries.ranks[0] == len(keys), "by rank")
        keys.extend(message.entries.keys)
    check(keys == [f"item:{n}".encode() for n in range(1, ENTRIES + 1)], keys[:5])


def aborts_in_mid_run(stoke):
    """Keys that no cache has yet, and more than the budget loads at once."""
    job = create(stoke, "python/2", spec(stoke))
    upload(stoke, job.name, range(ENTRIES + 1, 5 * ENTRIES + 1))
    watch(stoke, job.name, lambda job: job.progress.outcomes.warmed > 500)
    request = stoke.message("AbortJobRequest", name=job.name, reason="enough")
    stoke.jobs.AbortJob(request, timeout=10)
    job = watch(stoke, job.name, lambda job: stoke.state(job.state) == "ABORTED")
    check(job.reason == "enough" and planned_is_settled(job), job)
    check(job.progress.outcomes.cancelled > 0, "it was in mid-run")

    pause = stoke.message("PauseJobRequest", name=job.name)
    error = refused(lambda: stoke.jobs.PauseJob(pause, timeout=10))
    check(error.code() == grpc.StatusCode.FAILED_PRECONDITION, error)
    found = details(error)
    check(found["ErrorInfo"].reason == "ILLEGAL_STATE", error)
    check(found["ErrorInfo"].metadata["state"] == "ABORTED", error)
    check(found["PreconditionFailure"].violations[0].description, error)


def says_which_fields_are_wrong(stoke):
    asked = spec(stoke, priority=1001)
    asked.batch.cache = "no name"
    asked.batch.sources[0].ClearField("upload")
    error = refused(lambda: create(stoke, "", asked))
    check(error.code() == grpc.StatusCode.INVALID_ARGUMENT, error)
    fields = {wrong.field for wrong in details(error)["BadRequest"].field_violations}
    expected = {"spec.priority", "spec.batch.cache", "spec.batch.sources[0].from"}
    check(fields == expected, fields)

    request = stoke.message("GetJobRequest", name="nobody")
    error = refused(lambda: stoke.jobs.GetJob(request, timeout=10))
    check(error.code() == grpc.StatusCode.NOT_FOUND, error)
    check("ListJobs" in error.details(), error.details())


def honours_a_deadline(stoke):
    """A watch of a job that waits for ever ends with its deadline; so does an upload that is never complete."""
    job = create(stoke, "python/3", spec(stoke))
    request = stoke.message("WatchJobRequest", name=job.name)
    error = refused(lambda: list(stoke.jobs.WatchJob(request, timeout=1)))
    check(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error)
    request = stoke.message("AbortJobRequest", name=job.name)
    stoke.jobs.AbortJob(request, timeout=10)
    watch(stoke, job.name, lambda job: stoke.state(job.state) == "ABORTED")


def lists_by_label_in_pages(stoke):
    names, token = [], ""
    while True:
        request = stoke.message(
            "ListJobsRequest", labels={"by": "python"}, page_size=2, page_token=token
        )
        page = stoke.jobs.ListJobs(request, timeout=10)
        names.extend(job.name for job in page.jobs)
        token = page.next_page_token
        if not token:
            break
    check(len(names) == 3 and names == sorted(names, reverse=True), names)


def main():
    stoke = Stoke(sys.argv[1])
    workers = stoke.fleet.ListWorkers(stoke.message("ListWorkersRequest"), timeout=10).workers
    check(all("item" in worker.loaders for worker in workers), workers)
    done = warms_what_is_uploaded(stoke)
    lists_failures(stoke, done)
    exports_the_plan(stoke, done)
    aborts_in_mid_run(stoke)
    says_which_fields_are_wrong(stoke)
    honours_a_deadline(stoke)
    lists_by_label_in_pages(stoke)
    print("the main job, driven from Python: all as it should be")


if __name__ == "__main__":
    main()
