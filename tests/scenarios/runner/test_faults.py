"""Real faults under a rollout that is fine by itself: each has its cause, none is unattributed."""

from pathlib import Path

import msgspec
import pytest

from scenarios.cli.main import status
from scenarios.errors import UsageError
from scenarios.evidence.run_folder import RunFolder
from scenarios.scenario.overrides import parse_fault
from scenarios.scenario.spec import FaultSpec
from scenarios.verdict import Verdict
from tests.support.runs import released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]

SMALL = (
    *("--replicas", "2", "--rate", "40", "--existing-rows", "500"),
    *("--baseline", "0.5"),
)


def run(scenario: str | Path, *options: str, out: Path, settle: float = 1.5) -> Verdict:
    """A run's verdict, reached twice with the same bytes."""
    ended = released(scenario, out, *SMALL, "--settle", str(settle), *options)
    file = ended.folder / "verdict.json"
    verdict, found = ended.verdict, file.read_bytes()
    assert ended.code == verdict.exit_status
    assert status(["report", str(ended.folder), "--json"]) == ended.code
    assert file.read_bytes() == found
    return verdict


def broken(fault: str, out: Path, settle: float = 1.5) -> Verdict:
    return run("with-default", "--strategy", "blue-green", "--fault", fault, out=out, settle=settle)


def causes(verdict: Verdict) -> set[str]:
    return {cause.cause for cause in verdict.causes}


def test_a_killed_replica(tmp_path: Path) -> None:
    """`kill -9`: what broke off is blamed on the replica's death, and nothing is lost."""
    # A lock on the table keeps requests in flight, so that the replica dies with some of them.
    verdict = run(
        *("with-default", "--strategy", "blue-green"),
        *("--fault", "block:2@0.1", "--fault", "kill@1.2"),
        out=tmp_path,
    )
    assert verdict.requests.failed > 0
    assert verdict.unattributed == 0, verdict.causes
    assert causes(verdict) == {"lifecycle:died"}
    assert verdict.integrity.violations == ()
    (folder,) = tmp_path.iterdir()
    events = list(RunFolder(folder).events.read())
    made = [one for one in events if one.verb == "fault" and one.state == "completed"]
    (killed,) = [one for one in made if one.replicas]
    (ended,) = [one for one in events if one.verb == "replica"]
    assert killed.replicas == ended.replicas


def test_a_transaction_that_blocks_the_table(tmp_path: Path) -> None:
    """Two seconds of an exclusive lock: nobody fails, and each slow request names who held it."""
    verdict = broken("block:2@0.2", tmp_path)
    assert verdict.requests.failed == 0, verdict.causes
    assert verdict.requests.slow > 0
    locked = next(cause for cause in verdict.slow_causes if cause.cause == "lock_wait")
    assert "hitless-fault" in (locked.evidence.note or "")
    blocker = max(verdict.locks.blockers, key=lambda one: one.requests)
    assert blocker.application == "hitless-fault"
    assert blocker.relation == "subscriptions"
    assert blocker.requests >= locked.count


def test_a_database_that_crashes(tmp_path: Path) -> None:
    """An immediate shutdown: the failures are the database's, and no promise is broken."""
    verdict = broken("crash-postgres@0.2", tmp_path)
    assert verdict.requests.failed > 0
    assert verdict.unattributed == 0, verdict.causes
    assert causes(verdict) <= {
        *("database:away", "sqlstate:57P01", "sqlstate:57P02", "sqlstate:57P03", "sqlstate:08003"),
        *("sqlstate:08006", "statement_timeout", "pool_exhausted"),
    }
    assert verdict.integrity.violations == ()


@pytest.mark.soak
def test_a_database_that_restarts(tmp_path: Path) -> None:
    """A fast shutdown: the same."""
    verdict = broken("restart-postgres@0.2", tmp_path)
    # The application heals a lost session itself; a migration that loses its own fails.
    assert verdict.requests.failed > 0 or verdict.rollout.outcome == "failed"
    assert verdict.unattributed == 0, verdict.causes
    assert verdict.integrity.violations == ()


@pytest.mark.soak
def test_a_frozen_replica(tmp_path: Path) -> None:
    """SIGSTOP for longer than users wait: the balancer's checks say whose fault it is."""
    verdict = run(
        *("with-default", "--strategy", "rolling", "--fault", "freeze:14@0.1"),
        *("--set", "traffic.timeout_seconds=5", "--set", "policy.drain_timeout_seconds=20"),
        out=tmp_path,
        settle=16,
    )
    assert verdict.requests.failed > 0
    assert verdict.unattributed == 0, verdict.causes
    assert "lifecycle:unresponsive" in causes(verdict)


# Of the many rows that were there before, every hundredth is looked up after the run.
SOME_SUBJECTS = """
    SELECT email AS subject, to_jsonb(subscriptions) ->> 'status' AS state FROM subscriptions
    WHERE email NOT LIKE 'reader-%' OR email LIKE 'reader-%00@%'"""


def test_a_migration_that_deadlocks(tmp_path: Path) -> None:
    """The storm of locks: its stall, its deadlocks, and the requests behind each lock."""
    verdict = run(
        # Many rows and many users, so that the two meet on a fast machine as well.
        *("lock-storm", "--existing-rows", "200000", "--rate", "120"),
        *("--set", "database.migration_deadline_seconds=4"),
        *("--set", f"integrity.subjects={SOME_SUBJECTS}"),
        out=tmp_path,
    )
    assert verdict.verdict == "fail"
    assert verdict.locks.deadlocks > 0
    assert verdict.unattributed == 0
    assert "lock_wait" in {cause.cause for cause in (*verdict.causes, *verdict.slow_causes)}
    blamed = [one for one in verdict.locks.blockers if one.application == "hitless-migrator"]
    assert max(one.requests for one in blamed) > 0
    assert any("big_bang_locking" in one.during for one in blamed)
    assert (verdict.locks.longest or 0) > 0.1
    assert verdict.integrity.violations == ()
    assert verdict.integrity.checked > 2000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kill", FaultSpec(do="kill")),
        ("freeze:3", FaultSpec(do="freeze", seconds=3)),
        ("block:2.5@0.5", FaultSpec(do="block", seconds=2.5, after_seconds=0.5)),
        ("crash-postgres@4", FaultSpec(do="crash-postgres", after_seconds=4)),
    ],
)
def test_faults_as_flags(text: str, fault: FaultSpec) -> None:
    """A flag says kind, length and time."""
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["kil", "kill:", "kill@", "freeze:0", "sql", "", "kill:-1"])
def test_faults_that_make_no_sense(text: str) -> None:
    """What cannot be made is refused, with what could."""
    with pytest.raises(UsageError, match="--fault"):
        parse_fault(text)


PLANTED = {
    "stored": """
        DELETE FROM subscriptions WHERE email = (
            SELECT email FROM subscriptions s WHERE email LIKE 's1-0%' AND NOT EXISTS (
                SELECT FROM subscription_tokens t WHERE t.subscriber_id = s.id
            ) LIMIT 1
        )""",
    "stored, twice": """
        CREATE TABLE doubles () INHERITS (subscriptions);
        INSERT INTO doubles SELECT * FROM ONLY subscriptions s
        WHERE email LIKE 's1-0%' AND NOT EXISTS (
            SELECT FROM subscription_tokens t WHERE t.subscriber_id = s.id
        ) LIMIT 1""",
    "confirmed": """
        UPDATE subscriptions SET status = 'pending_confirmation' WHERE id = (
            SELECT s.id FROM subscriptions s JOIN subscription_tokens t ON t.subscriber_id = s.id
            WHERE s.status = 'active' LIMIT 1
        )""",
    "mail_cause": """
        UPDATE subscription_tokens SET sent_at = NULL, due_at = now() WHERE subscriber_id = (
            SELECT s.id FROM subscriptions s JOIN subscription_tokens t ON t.subscriber_id = s.id
            WHERE s.status = 'pending_confirmation' AND t.sent_at IS NOT NULL
            ORDER BY t.sent_at DESC LIMIT 1
        )""",
    "mail_sent": """
        CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.sent_at = now(); RETURN NEW; END';
        CREATE TRIGGER forget BEFORE INSERT ON subscription_tokens FOR EACH ROW
            WHEN (NEW.subscription_token < 'M') EXECUTE FUNCTION forget()""",
}
"""What goes wrong with the data behind the application's back, by the invariant that finds it."""


# Who confirms at once owes no further mail: here they take their time.
PATIENT = """
[[traffic.journeys]]
name = "subscribe"

[[traffic.journeys.steps]]
method = "POST"
path = "/subscriptions"
form = { name = "Reader {unique}", email = "{user}" }
subject = "{user}"

[[traffic.journeys.steps]]
after = "mail"
path = "{link}"
subject = "{user}"
delay_seconds = 20
"""


def planted(invariant: str, folder: Path) -> Path:
    path = folder / "planted.toml"
    quoted = msgspec.json.encode(PLANTED[invariant]).decode()
    path.write_text(
        'extends = "with-default"\nname = "planted"\n'
        '[[faults]]\ndo = "sql"\nphase = "settle"\nafter_seconds = 0.7\n'
        f"sql = {quoted}\n" + (PATIENT if invariant == "mail_cause" else "")
    )
    return path


@pytest.mark.parametrize(
    "invariant",
    [pytest.param(name, marks=[] if name == "stored" else [pytest.mark.soak]) for name in PLANTED],
)
def test_a_planted_fault_is_found_by_its_checker_alone(invariant: str, tmp_path: Path) -> None:
    """Data that is changed behind the application's back breaks exactly one invariant."""
    scenario = planted(invariant, tmp_path)
    verdict = run(scenario, "--strategy", "blue-green", out=tmp_path / "runs", settle=2.5)
    found = {one.invariant for one in verdict.integrity.violations}
    assert found == {invariant.partition(",")[0]}, verdict.integrity.violations
    assert verdict.requests.failed == 0, verdict.causes
    assert [check.check for check in verdict.checks if check.held is False] == ["integrity"]
    assert (verdict.verdict, verdict.doubts) == ("fail", ())


@pytest.mark.soak
def test_a_generator_that_is_held_up(tmp_path: Path) -> None:
    """Half a second in which nobody looked makes a run invalid, and nothing else is claimed."""
    verdict = broken("freeze-load:0.6@0.3", tmp_path)
    assert verdict.verdict == "invalid"
    assert any("stalled" in reason for reason in verdict.reasons)
    assert verdict.integrity.violations == ()
    assert verdict.causes == ()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_clean_runs_have_no_false_finding(tmp_path: Path) -> None:
    """Fifty clean rollouts with fifty seeds: nothing failed, nothing lost, nothing invalid."""
    for seed in range(1, 51):
        verdict = run("expand-contract", "--seed", str(seed), out=tmp_path / str(seed), settle=0.5)
        assert verdict.verdict == "pass", (seed, verdict.reasons)
        assert verdict.causes == ()
        assert verdict.unattributed == 0
