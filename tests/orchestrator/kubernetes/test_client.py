"""The API client: what a list and its watches give, whatever the server does meanwhile."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes import client as module
from orchestrator.kubernetes.client import Cluster, connected
from orchestrator.kubernetes.errors import ApiError, ClusterNameError

PODS = "/api/v1/namespaces/shop/pods"
Json = dict[str, Any]
Answer = Callable[[web.Request], Any]


def pod(name: str, version: int) -> Json:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def listed(version: int, *names: str) -> Json:
    return {
        "metadata": {"resourceVersion": str(version)},
        "items": [pod(name, version) for name in names],
    }


def lines(*events: Json) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in events)


@asynccontextmanager
async def serving(
    answers: list[Json | str | int], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> AsyncIterator[tuple[Cluster, list[str]]]:
    """A server that gives these answers in turn; yields its client and the requests.

    An answer is a document, the lines of a watch, or the status of a refusal.
    """
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        if request.headers.get("Authorization") != "Bearer secret":
            return web.json_response({"message": "Unauthorized"}, status=401)
        one = answers.pop(0)
        if isinstance(one, int):
            return web.json_response({"message": f"refused with {one}"}, status=one)
        return web.Response(text=one if isinstance(one, str) else json.dumps(one))

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    config = folder / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "current-context": "here",
                "clusters": [
                    {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}},
                ],
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"token": "secret"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.0)
    try:
        async with connected(None) as cluster:
            yield cluster, asked
    finally:
        await runner.cleanup()


async def seen(cluster: Cluster, count: int) -> tuple[list[tuple[str, str]], list[str]]:
    """The first changes that `follow` gives, and why some may be missing."""
    found: list[tuple[str, str]] = []
    gaps: list[str] = []
    async for one in cluster.follow(PODS, gaps.append):
        found.append((one.change, one.object.get("metadata", {}).get("name", "")))
        if len(found) == count:
            break
    return found, gaps


async def test_a_watch_goes_on_where_it_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When the server ends a watch, the next one begins after the last change or bookmark."""
    first = lines(
        {"type": "ADDED", "object": pod("web-2", 8)},
        {"type": "BOOKMARK", "object": pod("", 9)},
    )
    second = lines({"type": "DELETED", "object": pod("web-1", 10)})
    async with serving([listed(7, "web-1"), first, second], monkeypatch, tmp_path) as (api, asked):
        found, gaps = await seen(api, 4)
    assert found == [
        ("listed", "web-1"),
        ("complete", ""),
        ("added", "web-2"),
        ("deleted", "web-1"),
    ]
    assert gaps == []
    assert ["resourceVersion=7" in asked[1], "resourceVersion=9" in asked[2]] == [True, True]


@pytest.mark.parametrize("gone", [410, lines({"type": "ERROR", "object": {"message": "too old"}})])
async def test_a_version_that_the_server_forgot_is_a_gap(
    gone: int | str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """410 Gone, as a status or as an event: the list is read again, and the gap is told."""
    answers: list[Json | str | int] = [listed(7, "web-1"), gone, listed(20, "web-2")]
    async with serving(answers, monkeypatch, tmp_path) as (api, _):
        found, gaps = await seen(api, 4)
    assert found == [("listed", "web-1"), ("complete", ""), ("listed", "web-2"), ("complete", "")]
    assert len(gaps) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_away_for_a_moment_is_asked_again(
    status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An API server that is busy or restarts refuses a watch, then a list: both are gaps."""
    answers: list[Json | str | int] = [listed(7, "web-1"), status, status, listed(20, "web-2")]
    async with serving(answers, monkeypatch, tmp_path) as (api, _):
        found, gaps = await seen(api, 4)
    assert found[2:] == [("listed", "web-2"), ("complete", "")]
    assert gaps == [f"the cluster: refused with {status} ({status})"] * 2


@pytest.mark.parametrize("nonsense", ["<html>", "[]", "{}"])
async def test_an_answer_that_is_none_of_kubernetes(
    nonsense: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To begin with it is told in one line; later, where a proxy answers, it is a gap."""
    async with serving([nonsense], monkeypatch, tmp_path) as (api, _):
        with pytest.raises(EnvironmentFailure, match="does not answer as Kubernetes does"):
            await seen(api, 1)
    answers = [listed(7, "web-1"), nonsense, 410, nonsense, listed(20, "web-2")]
    async with serving(answers, monkeypatch, tmp_path) as (api, _):
        found, gaps = await seen(api, 4)
    assert found[2:] == [("listed", "web-2"), ("complete", "")]
    assert len(gaps) == 3


async def test_a_watch_that_ends_at_once_is_not_begun_without_a_pause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Some proxies end each watch at once; the API server must not be asked in a busy loop."""
    change = lines({"type": "ADDED", "object": pod("web-2", 8)})
    async with serving([listed(7), "", change, ""], monkeypatch, tmp_path) as (api, _):
        waits: list[float] = []

        async def wait(seconds: float) -> None:
            waits.append(seconds)

        monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=wait))
        found, gaps = await seen(api, 2)
    assert (found, gaps) == ([("complete", ""), ("added", "web-2")], [])
    assert waits == [0.0]


async def test_a_refusal_has_the_words_of_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A list that may not be read is an error with its status, and no gap."""
    async with serving([403], monkeypatch, tmp_path) as (api, _):
        with pytest.raises(ApiError, match=r"refused with 403 \(403\)") as caught:
            await seen(api, 1)
    assert caught.value.status == 403


async def test_a_kubeconfig_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that is not there, no YAML, another context, and a server that does not answer."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterNameError, match="there is no kubeconfig"):
        async with connected(None):
            pass
    for broken in ("a: [", "", "[]", "{clusters: 3, contexts: []}", "{clusters: [{name: c}]}"):
        (tmp_path / "broken").write_text(broken)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "broken"))
        with pytest.raises(ClusterNameError, match="the kubeconfig cannot be read"):
            async with connected(None):
                pass
    (tmp_path / "away").write_text(
        "{current-context: a, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], "
        "contexts: [{name: a, context: {cluster: c}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "away"))
    with pytest.raises(ClusterNameError, match="has no context 'b'; it has: a"):
        async with connected("b"):
            pass
    async with connected(None) as cluster:
        with pytest.raises(EnvironmentFailure, match="does not answer"):
            await cluster.get("/version")


async def test_several_files_in_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with kubectl, KUBECONFIG may name several files: the one with the context is used."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(
            f"{{clusters: [{{name: c, cluster: {{server: 'http://{name}.test'}}}}], "
            f"contexts: [{{name: {name}, context: {{cluster: c}}}}]}}"
        )
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    async with connected("two") as cluster:
        assert cluster.server == "http://two.test"


async def test_who_leaves_a_watch_early_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its connection is closed with it, and not by the garbage collector after the client."""
    both = lines(
        {"type": "ADDED", "object": pod("web-2", 8)}, {"type": "ADDED", "object": pod("web-3", 9)}
    )
    opened: list[Any] = []
    stream = Cluster.stream

    @asynccontextmanager
    async def counted(self: Cluster, *how: Any) -> AsyncIterator[Any]:
        async with stream(self, *how) as response:
            opened.append(response)
            try:
                yield response
            finally:
                opened.remove(response)

    monkeypatch.setattr(Cluster, "stream", counted)
    async with serving([listed(7), both], monkeypatch, tmp_path) as (api, _):
        async with aclosing(api.follow(PODS, lambda _: None)) as changes:
            async for one in changes:
                if one.change == "added":
                    break
            assert len(opened) == 1
        assert opened == []


async def test_what_is_behind_the_server_may_answer_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A request through the server gets the answer as it is; an error in the server's own words."""
    headers = {"X-Key": "k"}
    async with serving(["text", 503], monkeypatch, tmp_path) as (api, asked):
        path = f"{PODS}/web-0:8080/proxy/report?byte=7"
        answer = await api.send("GET", path, headers=headers, seconds=5.0)
        assert (answer.status, answer.is_error, answer.content) == (200, False, b"text")
        answer = await api.send("POST", path, content=b"body", headers=headers, seconds=5.0)
        assert (answer.is_error, answer.words) == (True, "refused with 503")
    assert asked == [path, path]
