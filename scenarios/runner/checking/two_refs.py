"""Two versions from one git repository: each is checked out into a folder of its own.

The folders are repositories of their own that borrow the objects of the user's. So nothing is
written into the user's repository, and nothing is left in it after a `kill -9` either.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import EnvironmentFailure, ProcessError
from orchestrator.processes import Processes
from orchestrator.tasks import first_error
from scenarios.errors import ScenarioError, UsageError, near
from scenarios.runner import release as application
from scenarios.scenario.checks import check
from scenarios.scenario.reader import Loaded
from scenarios.scenario.spec import Scenario

_LINES = 3
_OF_A_HOOK: Mapping[str, None] = dict.fromkeys(
    (
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"),
        *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE"),
    )
)
"""Variables that git sets for its hooks. With them, each git would work in the user's repository,
whatever its folder is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoRefs:
    """Where the versions come from.

    Attributes:
        old: the commit of the version that serves before the release, by any of its names.
        new: the commit of all other versions, and of the release's migrations.
        install: a command line that makes a checked-out folder ready to run; None: nothing does.
    """

    old: str
    new: str
    install: str | None = None


@asynccontextmanager
async def checked_out(
    loaded: Loaded, refs: TwoRefs, processes: Processes, tell: Callable[[str], None]
) -> AsyncIterator[Loaded]:
    """The scenario with its paths in two checked-out folders, as long as the block lasts.

    Args:
        loaded: the scenario, with paths in the working tree of the user.
        refs: where its versions come from.
        processes: owns git, and the command that installs.
        tell: told what happens.

    Raises:
        UsageError: a commit does not exist, or the scenario is in no repository.
        ScenarioError: a file that the scenario names is not in its commit.
        EnvironmentFailure: git is not there, or the command that installs failed.
    """
    async with processes.directory("hitless-refs-") as folder:
        git = _Git(processes, folder / "git.log")
        root = await _repository(git, loaded.path)
        # Both are looked up before anything is checked out.
        commits = [
            await _commit(git, root, flag, ref)
            for flag, ref in (("--old", refs.old), ("--new", refs.new))
        ]
        roots = (root, _root_as_written(loaded.path, root))
        places = [folder / "old", folder / "new"]
        for place, commit in zip(places, commits, strict=True):
            await _check_out(git, root, commit, place)
        both = _joined(loaded, roots, *places)
        if refs.install is not None:
            tell(f"installing {refs.old} and {refs.new}: {refs.install}")
            own = os.path.abspath(loaded.path.parent)  # noqa: PTH100 - links stay as written
            old_folder, new_folder = (_moved(own, roots, place) for place in places)
            with first_error():
                async with asyncio.TaskGroup() as group:
                    for ref, where in ((refs.old, old_folder), (refs.new, new_folder)):
                        group.create_task(
                            _install(processes, refs.install, ref, Path(where), folder)
                        )
        try:
            check(both.scenario, both.locations.at)
        except ScenarioError as error:
            raise ScenarioError(_named(str(error), refs, places)) from error
        yield both


def _root_as_written(scenario: Path, root: Path) -> Path:
    """The top folder as it stands in the paths of the scenario, which may lead there by a link.

    Raises:
        UsageError: the scenario's own folder is not in the repository.
    """
    for folder in Path(os.path.abspath(scenario)).parents:  # noqa: PTH100 - links stay as written
        if folder.resolve() == root:
            return folder
    raise UsageError(
        f"--old and --new: {scenario} is a link into {root}, and its folder is outside; give the "
        "path of the file itself"
    )


def _joined(loaded: Loaded, roots: Sequence[Path], old: Path, new: Path) -> Loaded:
    """The first version and the base schema are in the old folder, all else in the new one."""
    before, after = (_scenario_in(loaded.scenario, roots, place) for place in (old, new))
    start = loaded.scenario.release.serving
    known = application.version(Loaded(before, loaded.path), start)
    replace = msgspec.structs.replace
    first = replace(
        before.versions[start],
        command=known.command,
        cwd=str(known.cwd),
        python=known.python,
        env=dict(known.env),
    )
    database = after.database
    if database is not None and before.database is not None:
        database = replace(database, migrate=before.database.migrate)
    scenario = replace(after, versions={**after.versions, start: first}, database=database)
    return Loaded(scenario, loaded.path, loaded.locations)


def _scenario_in(scenario: Scenario, roots: Sequence[Path], place: Path) -> Scenario:
    """The scenario with each path of the repository in another folder."""

    def moved(value: Any) -> Any:  # noqa: ANN401 - whatever a scenario holds
        if isinstance(value, str):
            return _moved(value, roots, place)
        if isinstance(value, dict):
            return {key: moved(part) for key, part in value.items()}
        return [moved(part) for part in value] if isinstance(value, list | tuple) else value

    return msgspec.convert(moved(msgspec.to_builtins(scenario)), Scenario)


def _moved(text: str, roots: Sequence[Path], place: Path) -> str:
    for root in roots:
        if text == str(root) or text.startswith(f"{root}/"):
            return f"{place}{text.removeprefix(str(root))}"
    return text


def _named(text: str, refs: TwoRefs, places: Sequence[Path]) -> str:
    """A message that names the commits, and not the folders, which are gone when it is read."""
    for place, ref in zip(places, (refs.old, refs.new), strict=True):
        text = text.replace(f"{place}/", f"{ref}:").replace(str(place), ref)
    return text


class _Git:
    """Runs git."""

    def __init__(self, processes: Processes, log: Path) -> None:
        self._processes = processes
        self._log = log

    async def lines(self, folder: Path, *arguments: str) -> list[str] | None:
        """What a command printed; None if it failed.

        Raises:
            EnvironmentFailure: there is no git.
        """
        try:
            child = await self._processes.start(
                ["git", "-C", str(folder), *arguments],
                name="git",
                log=self._log,
                env=_OF_A_HOOK,
                dialogue=True,
            )
        except ProcessError as error:
            raise EnvironmentFailure(f"--old and --new need git: {error}") from error
        found = [line async for line in child.stdout]
        return [line.decode().rstrip("\n") for line in found] if not await child.wait() else None

    async def must(self, folder: Path, *arguments: str) -> list[str]:
        """The same of a command that has no reason to fail.

        Raises:
            EnvironmentFailure: it failed all the same.
        """
        found = await self.lines(folder, *arguments)
        if found is None:
            raise EnvironmentFailure(f"git {arguments[0]} failed: {self.said}")
        return found

    @property
    def said(self) -> str:
        """The last lines of its messages."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return " | ".join(lines[-_LINES:])


async def _repository(git: _Git, scenario: Path) -> Path:
    """The top folder of the working tree."""
    folder = scenario.resolve().parent
    found = await git.lines(folder, "rev-parse", "--show-toplevel")
    if not found:
        raise UsageError(
            f"--old and --new: {scenario} is not in the working tree of a git repository "
            f"({git.said})"
        )
    return Path(found[0])


async def _commit(git: _Git, root: Path, flag: str, ref: str) -> str:
    """The commit that a name stands for."""
    wanted = f"{ref}^{{commit}}"
    found = await git.lines(root, "rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
    if found:
        return found[-1]
    names = await git.must(
        root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags"
    )
    shallow = await git.must(root, "rev-parse", "--is-shallow-repository")
    hint = near(ref, names) if names else "it has no branch and no tag"
    if shallow == ["true"]:
        hint += "; this clone is shallow, so fetch the commit first"
    raise UsageError(f"{flag} {ref}: there is no such commit in {root}; {hint}")


async def _check_out(git: _Git, root: Path, commit: str, place: Path) -> None:
    """Check a commit out, with the tags, as tools that ask git for a version want them."""
    place.mkdir()
    await git.must(place, "init", "--quiet", "--template=")
    own = place / ".git"
    for name, target in (("objects", "objects/info/alternates"), ("shallow", "shallow")):
        (path,) = await git.must(root, "rev-parse", "--git-path", name)
        source = root / path
        (own / target).parent.mkdir(parents=True, exist_ok=True)
        if name == "objects":
            (own / target).write_text(f"{source.resolve()}\n")
        elif source.exists():
            (own / target).write_bytes(source.read_bytes())
    tags = await git.must(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/tags")
    (own / "packed-refs").write_text("".join(f"{line}\n" for line in tags))
    await git.must(place, "checkout", "--quiet", "--detach", commit)


async def _install(processes: Processes, command: str, ref: str, where: Path, folder: Path) -> None:
    """Make a checked-out folder ready to run."""
    log = folder / f"install-{where.parts[len(folder.parts)]}.log"
    child = await processes.start(
        ["sh", "-c", command], name="install", log=log, env=_OF_A_HOOK, cwd=where
    )
    status = await child.wait()
    if status:
        said = " | ".join(child.last_lines(_LINES).splitlines()) or "(no output)"
        raise EnvironmentFailure(f"--install ended with status {status} for {ref}: {said}")
