"""Each job that did not end as it should have gets one cause, and an orderly job gets none."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.jobs import JobError, JobEvent, StoredJob, StoreState, What
from scenarios.verdict.jobs.history import ProcessLife, histories
from scenarios.verdict.jobs.remedies import TITLES, remedy
from scenarios.verdict.jobs.rules import JobRules, JudgedJob

SECOND = 1_000_000_000
ALIVE = ProcessLife("a", None, None)
LIVES = {
    "web-1": ProcessLife("a", None, None),
    "web-2": ProcessLife("b", None, None),
    "old": ProcessLife("a", 10 * SECOND, 12 * SECOND),
    "old-2": ProcessLife("a", 20 * SECOND, 22 * SECOND),
    "new": ProcessLife("b", None, None),
}


def told(what: What, at: float, by: str = "old", job: str = "j", **more: str) -> JobEvent:
    return JobEvent(job=job, what=what, at_ns=int(at * SECOND), by=by, pid=1, **more)


def row(state: StoreState, job: str = "j", **more: object) -> StoredJob:
    return StoredJob(job=job, state=state, **more)


def cause(
    events: Iterable[JobEvent],
    stored: Iterable[StoredJob] = (),
    errors: Iterable[JobError] = (),
    *,
    job: str = "j",
    asked: bool = True,
) -> JudgedJob | None:
    jobs = histories(events, stored, errors, LIVES)
    return JobRules(jobs, LIVES, stored=asked).cause(jobs[job])


def kind(found: JudgedJob | None) -> str | None:
    return None if found is None else found.cause


ASKED = told("asked", 1, "web-1", name="mail")


def test_a_job_that_was_done_once_has_no_cause() -> None:
    """Asked for, begun, ended, and gone from the queue: nothing is wrong."""
    assert cause([ASKED, told("begun", 2), told("ended", 3)]) is None


def test_a_job_that_broke_off_and_is_nowhere_is_lost() -> None:
    """The process ended while it did the job, and the queue does not have it any more."""
    found = cause([ASKED, told("begun", 11)])
    assert kind(found) == "job:lost"
    assert found is not None
    assert found.cut_ns == 12 * SECOND
    assert "old was ended while it did the job" in found.sentence


def test_what_a_log_says_of_a_stop_is_no_error_of_the_job() -> None:
    """Celery logs a `WorkerLostError` for a job that a signal cut: it is lost, and not refused."""
    logged = JobError(job="j", by="old", error="WorkerLostError: Worker exited: signal 15")
    assert kind(cause([ASKED, told("begun", 11)], errors=[logged])) == "job:lost"
    new = told("asked", 1, "web-2", name="mail")
    assert kind(cause([new, told("begun", 11)], errors=[logged])) == "job:lost"


def test_a_job_that_nobody_began_and_the_queue_does_not_have_is_lost() -> None:
    """It is gone without a trace."""
    assert kind(cause([ASKED])) == "job:lost"


def test_without_a_look_into_the_queue_nothing_is_called_lost() -> None:
    """Where no command says what the queue has, a job may still wait there."""
    assert cause([ASKED], asked=False) is None
    assert kind(cause([ASKED, told("begun", 11)], asked=False)) == "job:cut"


def test_a_job_that_broke_off_and_was_done_again_is_cut() -> None:
    """Half of its work was done twice, but it ended once."""
    events = [ASKED, told("begun", 11), told("begun", 13, "new"), told("ended", 14, "new")]
    found = cause(events)
    assert kind(found) == "job:cut"
    assert found is not None
    assert "then new did it from its beginning" in found.sentence


def test_a_job_that_broke_off_and_is_still_held_is_cut_until_the_queue_takes_it_back() -> None:
    """It is not lost before that time, and the sentence says when."""
    found = cause([ASKED, told("begun", 11)], [row("held", by="old", until_seconds=3541.2)])
    assert kind(found) == "job:cut"
    assert found is not None
    assert "held for another 3,541 s" in found.sentence


def test_a_job_that_ended_twice_is_done_twice() -> None:
    """Also when it was cut in between."""
    events = [ASKED, told("begun", 2), told("ended", 3), told("begun", 4), told("ended", 5)]
    assert kind(cause(events)) == "job:done_twice"


def test_a_job_that_ended_and_is_still_held_will_repeat() -> None:
    """The queue was not told of its end, so somebody does it again later."""
    events = [ASKED, told("begun", 2), told("ended", 3)]
    assert kind(cause(events, [row("held", until_seconds=14_400.0)])) == "job:will_repeat"
    assert cause(events, [row("failed")]) is None
    look = 3 * SECOND + 500_000_000  # the worker may be about to tell the queue
    assert cause(events, [row("held", at_ns=look)]) is None
    assert kind(cause(events, [row("held", at_ns=look + SECOND)])) == "job:will_repeat"


def test_a_job_that_nobody_began_and_a_dead_process_holds_is_hidden() -> None:
    """Its queue looks empty, and it waits until the queue takes it back."""
    assert kind(cause([ASKED], [row("held", by="old", until_seconds=3600.0)])) == "job:hidden"
    assert kind(cause([ASKED], [row("held")])) == "job:hidden"


def test_a_job_that_a_living_process_holds_is_not_hidden() -> None:
    """It may do it yet."""
    assert cause([ASKED], [row("held", by="new")]) is None


def test_a_job_that_stops_cut_until_the_queue_gave_it_up_is_dropped() -> None:
    """The cause says after how many stops."""
    events = [ASKED, told("begun", 11), told("begun", 21, "old-2")]
    assert kind(cause(events)) == "job:dropped_after_2_stops"
    assert kind(cause(events[:2], [row("failed")])) == "job:dropped_after_1_stop"


def test_a_job_of_the_new_version_that_the_old_one_refuses_is_not_understood() -> None:
    """The cause names the version that raised the error, with its exception."""
    new = told("asked", 1, "web-2", name="mail")
    failed = told("failed", 2, "old", error="TypeError: unexpected keyword argument 'language'")
    found = cause([new, told("begun", 2), failed])
    assert kind(found) == "job:not_understood_by:a"
    assert found is not None
    assert "unexpected keyword argument 'language'" in str(found.error)


def test_an_unknown_name_that_only_a_log_tells_of_is_not_understood() -> None:
    """The queue discarded the job, and only the log of the worker names it."""
    new = told("asked", 1, "web-2", name="mail")
    logged = JobError(job="j", by="old", error="KeyError: 'tasks.mail_html'")
    assert kind(cause([new], errors=[logged])) == "job:not_understood_by:a"


def test_an_error_that_the_version_raises_for_its_own_jobs_is_no_misunderstanding() -> None:
    """The jobs of that kind fail on this version whoever asks for them."""
    own = told("asked", 1, "web-1", "k", name="mail")
    new = told("asked", 1, "web-2", name="mail")
    error = "ConnectionError: refused"
    events = [own, told("failed", 2, job="k", error=error), new, told("failed", 3, error=error)]
    assert kind(cause(events)) == "job:failed"
    assert kind(cause(events, job="k")) == "job:failed"


def test_a_job_that_failed_once_and_was_done_then_has_no_cause() -> None:
    """The queue tried it again, as it should."""
    events = [ASKED, told("begun", 2), told("failed", 3, error="E: x"), told("begun", 4)]
    assert cause([*events, told("ended", 5)]) is None


def test_a_job_that_was_begun_after_the_stop_signal_is_told() -> None:
    """Only where it came so late that the process must have taken it after the signal."""
    assert kind(cause([ASKED, told("begun", 11.5), told("ended", 11.8)])) == "job:begun_after_stop"
    assert cause([ASKED, told("begun", 10.5), told("ended", 11)]) is None


def test_two_jobs_of_a_scheduler_for_one_instant_are_one_too_many() -> None:
    """The second one has the cause; jobs for other instants, and of other names, have none."""
    events = [
        *(told("asked", 1, "web-1", "1", name="digest", due="12:00"),),
        *(told("asked", 2, "web-1", "2", name="digest", due="12:00"),),
        *(told("asked", 3, "web-1", "3", name="digest", due="12:01"),),
        *(told("asked", 4, "web-1", "4", name="report", due="12:00"),),
        *(told("ended", 5 + n, "new", str(n)) for n in (1, 2, 3, 4)),
    ]
    assert [kind(cause(events, job=str(n))) for n in (1, 2, 3, 4)] == [
        None,
        "job:cron_twice",
        None,
        None,
    ]


@given(st.permutations(range(5)))
def test_a_job_is_reordered_if_a_later_one_with_its_key_was_begun_before(order: list[int]) -> None:
    """Exactly those jobs are named that were begun after one that was asked for later."""
    asked = [told("asked", n, "web-1", str(n), key="k") for n in range(5)]
    begun = [told("begun", 10 + place, "new", str(n)) for place, n in enumerate(order)]
    ended = [told("ended", 20 + place, "new", str(n)) for place, n in enumerate(order)]
    found = {n for n in range(5) if kind(cause([*asked, *begun, *ended], job=str(n))) is not None}
    place = {n: at for at, n in enumerate(order)}
    assert found == {n for n in range(5) if any(place[m] < place[n] for m in range(n + 1, 5))}


def test_jobs_of_different_keys_may_be_begun_in_any_order() -> None:
    """Only jobs with a key have an order."""
    asked = [told("asked", 1, job="1", key="x"), told("asked", 2, job="2", key="y")]
    begun = [told("begun", 3, "new", "2"), told("begun", 4, "new", "1")]
    ended = [told("ended", 5, "new", "2"), told("ended", 6, "new", "1")]
    assert cause([*asked, *begun, *ended], job="1") is None


@given(
    st.lists(
        st.builds(
            JobEvent,
            job=st.sampled_from("xyz"),
            what=st.sampled_from(["asked", "begun", "ended", "failed"]),
            at_ns=st.integers(0, 30 * SECOND),
            by=st.sampled_from([None, *LIVES]),
            pid=st.sampled_from([None, 1, 2]),
            key=st.sampled_from([None, "k"]),
            due=st.sampled_from([None, "12:00"]),
            error=st.sampled_from([None, "TypeError: x"]),
        ),
        max_size=12,
    ),
    st.lists(
        st.builds(
            StoredJob,
            job=st.sampled_from("wxyz"),
            state=st.sampled_from(["waiting", "held", "scheduled", "failed"]),
            by=st.sampled_from([None, "old", "new"]),
            until_seconds=st.sampled_from([None, -1.0, 60.0]),
        ),
        max_size=4,
    ),
)
def test_no_evidence_is_too_odd_for_a_cause(events: list[JobEvent], rows: list[StoredJob]) -> None:
    """A job has at most one cause, whatever was told, and each cause has its words."""
    jobs = histories(events, rows, (), LIVES)
    rules = JobRules(jobs, LIVES, stored=True)
    for job in jobs.values():
        found = rules.cause(job)
        assert found is None or (TITLES[found.kind] and found.sentence)
        if found is None and rows:
            assert [bool(job.ended), rules.is_unfinished(job), rules.is_for_later(job)].count(
                True
            ) == 1


def test_a_job_that_is_scheduled_for_later_is_not_unfinished() -> None:
    """The next one of each scheduler waits at the end; one that is late or was begun does not."""

    def later(events: list[JobEvent], stored: StoredJob) -> bool:
        job = histories(events, [stored], (), LIVES)["j"]
        rules = JobRules({"j": job}, LIVES, stored=True)
        assert rules.cause(job) is None
        assert rules.is_for_later(job) != rules.is_unfinished(job)
        return rules.is_for_later(job)

    assert later([], row("scheduled", until_seconds=30.0))
    assert later([ASKED], row("scheduled"))
    assert not later([ASKED], row("scheduled", until_seconds=-2.0))
    assert not later([ASKED], row("waiting"))
    assert not later([ASKED, told("begun", 2, "new")], row("scheduled"))


def test_each_system_has_its_own_words_or_the_general_ones() -> None:
    """Advice never leaves a cause without words, but for an error of the job itself."""
    for system in (None, "celery", "rq", "huey", "nobody-knows"):
        for one in TITLES:
            assert (remedy(one, system) is None) == (one == "job:failed")
    assert "task_acks_late" in str(remedy("job:lost", "celery"))
