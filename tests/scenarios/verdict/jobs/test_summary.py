"""From what was told of jobs to the verdict: what counts, is accepted, or is doubtful."""

from typing import Any

from scenarios.evidence.jobs import JobEvent, JobSettings, ProcessSet, StoredJob
from scenarios.reports.jobs import jobs_text
from scenarios.reports.page.lanes import replica_lanes, versions_of
from scenarios.verdict import Verdict
from scenarios.verdict.model import Jobs
from scenarios.verdict.timeline import Timeline
from tests.support.evidence import at, clean, event

OLD = {"version": "a", "replicas": ("worker-a-1",)}
OF_WORKER = {"processes": "worker"}
STOPPED = {
    **OF_WORKER,
    "departures": {"worker-a-1": {"stop_asked_ns": at(3.0), "ended_ns": at(3.5), "exit_status": 0}},
}
JOURNAL = [
    event(-1.0, "start", "completed", 90, detail=OF_WORKER, **OLD),
    event(3.0, "stop", "started", 91, detail=OF_WORKER, **OLD),
    event(3.5, "stop", "completed", 91, detail=STOPPED, **OLD),
    event(5.9, "phase", "started", 92, detail={"name": "teardown"}),
]
SETTINGS = JobSettings(system="celery", stored=True, settled=True)


def told(what: str, when: float, job: str = "1", by: str = "worker-a-1") -> JobEvent:
    return JobEvent(job=job, what=what, at_ns=at(when), by=by, name="mail")  # type: ignore[arg-type]


DONE = [told("asked", 1.0, by="a-1"), told("begun", 1.5), told("ended", 1.9)]
LOST = [told("asked", 2.5, "2", by="a-1"), told("begun", 2.9, "2")]


def judged(
    jobs: list[JobEvent],
    stored: list[StoredJob] | None = None,
    settings: JobSettings = SETTINGS,
    **faults: Any,
) -> Verdict:
    run = clean()
    run = run.but(events=[*run.events, *JOURNAL, *faults.get("events", ())])
    sets = (ProcessSet(name="worker", grace_seconds=5.0),)
    run = run.asked(jobs=settings, processes=sets)
    return run.judge(jobs=jobs, stored_jobs=stored or [])


def jobs_of(verdict: Verdict) -> Jobs:
    assert verdict.jobs is not None
    return verdict.jobs


def test_a_run_without_a_look_at_jobs_says_nothing_of_them() -> None:
    """There is no objective for jobs, and no section."""
    verdict = clean().judge()
    assert verdict.jobs is None
    assert "jobs" not in {check.check for check in verdict.checks}


def test_a_job_for_later_is_shown_and_does_not_count() -> None:
    """It does not make the run say nothing, unless there is no other job."""
    later = StoredJob(job="9", state="scheduled", until_seconds=40.0)
    verdict = judged(DONE, [later])
    assert verdict.verdict == "pass"
    assert jobs_text(jobs_of(verdict)) == "2 asked for · 1 done · 1 scheduled for later (celery)"
    alone = judged([], [later])
    assert alone.verdict == "invalid"
    assert any("scheduled for an instant after the end" in one for one in alone.reasons)


def test_jobs_that_were_done_once_pass() -> None:
    """The sentence says how many, and the longest stop stands beside the grace period."""
    verdict = judged(DONE)
    assert verdict.verdict == "pass", verdict.reasons
    assert "each of 1 job was done once" in verdict.reasons
    (stop,) = jobs_of(verdict).stops
    assert (stop.processes, stop.process, stop.grace_seconds) == ("worker", "worker-a-1", 5.0)
    assert round(stop.seconds, 6) == 0.5
    assert stop.longest_job_seconds is not None
    assert round(stop.longest_job_seconds, 6) == 0.4


def test_a_lost_job_fails_the_run_although_no_request_failed() -> None:
    """The cause has the job, who asked for it, who began it, and what helps with Celery."""
    verdict = judged([*DONE, *LOST])
    assert (verdict.verdict, verdict.requests.failed) == ("fail", 0)
    assert verdict.cause_ids == ("job:lost",)
    (cause,) = jobs_of(verdict).causes
    (job,) = cause.examples
    assert (job.job, job.name, job.asked_by, job.begun_by) == ("2", "mail", "a-1", ("worker-a-1",))
    assert "KillMode=mixed" in str(cause.remedy)
    assert "1 of 2 jobs did not end as they should have" in verdict.reasons[-1]


def test_an_accepted_cause_does_not_count() -> None:
    """It is shown, and the run passes."""
    cut = [*LOST, told("begun", 4.0, "2", "worker-b-1"), told("ended", 4.5, "2", "worker-b-1")]
    assert judged(cut).verdict == "fail"
    verdict = judged(cut, settings=JobSettings(stored=True, may=("job:cut",)))
    assert verdict.verdict == "pass", verdict.reasons
    assert [one.accepted for one in jobs_of(verdict).causes] == [True]
    assert verdict.cause_ids == ()


def test_jobs_that_are_still_to_be_done_make_the_run_invalid() -> None:
    """Nobody can tell what would have become of them; a lost job beside them still fails it."""
    waits = [told("asked", 5.0, "3", "a-1")]
    row = [StoredJob(job="3", state="waiting")]
    verdict = judged([*DONE, *waits], row)
    assert verdict.verdict == "invalid"
    assert "1 job of 2 had not ended when the run did" in verdict.reasons[0]
    assert judged([*LOST, *waits], row).verdict == "fail"


def test_a_job_that_the_end_of_the_run_cut_is_no_loss() -> None:
    """The teardown stops every worker, and that is no part of the release."""
    late = [told("asked", 5.0, "3", "a-1"), told("begun", 5.5, "3", "worker-b-1")]
    stop = {
        **OF_WORKER,
        "departures": {"worker-b-1": {"stop_asked_ns": at(5.95), "ended_ns": at(5.99)}},
    }
    new = {"version": "b", "replicas": ("worker-b-1",)}
    ends = [event(5.99, "stop", "completed", 95, detail=stop, **new)]
    verdict = judged([*DONE, *late], [StoredJob(job="3", state="held")], events=ends)
    assert verdict.verdict == "invalid"
    assert jobs_of(verdict).causes == ()


def test_an_account_with_a_gap_is_doubted() -> None:
    """A line that is no line about a job may have been about a lost one."""
    settings = JobSettings(stored=True, unreadable=2, first_unreadable="line 7 (x): malformed")
    verdict = judged(DONE, settings=settings)
    assert verdict.verdict == "invalid"
    assert "2 lines are no lines about a job; the first is line 7 (x)" in verdict.reasons[0]


def test_an_application_that_tells_of_no_job_is_told_how_to() -> None:
    """An empty account proves nothing."""
    verdict = judged([])
    assert verdict.verdict == "invalid"
    assert "told of no job; see docs/jobs.md" in verdict.reasons[0]


def test_a_fault_of_the_run_stands_beside_its_job() -> None:
    """Whoever reads the cause sees that the run itself killed the worker."""
    fault = {**OF_WORKER, "name": "term-group"}
    events = [
        event(3.0, "fault", "started", 96, detail=fault, **OLD),
        event(3.6, "fault", "completed", 96, detail=fault, **OLD),
    ]
    (cause,) = jobs_of(judged(LOST, events=events)).causes
    assert cause.faults == ("term-group worker-a-1",)


def test_processes_beside_the_web_are_no_replicas_in_service() -> None:
    """A worker never takes part in what is said of the fleet that answers requests."""
    verdict = judged(DONE)
    assert {share.version for share in verdict.versions} == {"a", "b"}
    assert "worker-a-1" in {one.replica for one in verdict.replica_ends}


def test_processes_without_a_look_at_their_jobs_are_a_limit() -> None:
    """Whoever reads the verdict knows that nobody would have noticed a lost job."""
    said = "nobody looked at their jobs"
    run = clean().asked(processes=(ProcessSet(name="worker"),))
    assert any(said in limit for limit in run.judge().limits)
    assert not any(said in limit for limit in clean().judge().limits)
    assert not any(said in limit for limit in judged(DONE).limits)


def test_the_timeline_shows_the_lives_of_processes() -> None:
    """A reader sees when which version's workers ran, below the replicas."""
    timeline = Timeline([*clean().events, *JOURNAL])
    verdict = judged(DONE)
    lanes = replica_lanes(verdict, timeline, versions_of(verdict, timeline), 6.0)
    names = [lane.name for lane in lanes]
    assert names[-1] == "worker-a-1"
    assert {"a-1", "b-2"} < set(names)
