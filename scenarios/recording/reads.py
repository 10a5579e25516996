"""Reads the same from each replica: a stateless one answers as every other does."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from orchestrator.model import Replica
from scenarios.evidence.read import Read
from scenarios.evidence.run_folder import RunFolder

LINKS = 5
_ANSWER_SECONDS = 10.0


async def record_reads(replicas: Sequence[Replica], paths: Iterable[str], folder: Path) -> None:
    """Write `reads.ndjson`: each path from each replica, one after the other.

    Args:
        replicas: those that serve.
        paths: what to read; `{link}` stands for the first and the last links that were mailed.
        folder: the run's.
    """
    wanted = [path for template in paths for path in _filled(template, folder)]
    if not wanted:
        return
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    with RunFolder(folder).reads.recorder() as recorder:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for path in wanted:
                for replica in replicas:
                    recorder.write(await _read(session, replica, path))


async def _read(session: aiohttp.ClientSession, replica: Replica, path: str) -> Read:
    shown = path.partition("?")[0]
    key = hashlib.sha256(path.encode()).hexdigest()[:16]
    try:
        async with session.get(f"http://{replica.address}{path}", allow_redirects=False) as answer:
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = str(error) or type(error).__name__
        return Read(path=shown, key=key, replica=replica.id, error=reason)
    digest = hashlib.sha256(body).hexdigest()
    return Read(path=shown, key=key, replica=replica.id, status=answer.status, digest=digest)


def _filled(template: str, folder: Path) -> list[str]:
    if "{link}" not in template:
        return [template]
    links = [
        template.replace("{link}", target)
        for mail in RunFolder(folder).mails.read()
        for target in (_target(link) for link in mail.links[:1])
    ]
    return list(dict.fromkeys([*links[:LINKS], *links[-LINKS:]]))


def _target(link: str) -> str:
    parts = urlsplit(link)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
