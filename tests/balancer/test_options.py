"""What an operator can get wrong, and what the balancer says then."""

import asyncio
import json
import re
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from balancer.__main__ import main
from balancer.addresses import Address
from balancer.client import AdminClient, AdminError
from balancer.errors import ConfigError, StartError
from balancer.options import parse
from balancer.sockets import fit_to_file_limit, listening
from tests.support.balancer import FAST, BalancerProcess, backend, load

Start = Callable[..., Awaitable[BalancerProcess]]
LISTEN = ["--listen", "127.0.0.1:0"]

WRONG = {
    "no listen": ([], "--listen"),
    "no port": (["--listen", "127.0.0.1"], "'127.0.0.1' is not an address; write HOST:PORT"),
    "port": (["--listen", "127.0.0.1:70000"], "a port must be a number from 1 to 65535"),
    "backend port 0": ([*LISTEN, "--backend", "127.0.0.1:0"], "a port must be a number from 1"),
    "backend option": ([*LISTEN, "--backend", "h:1,size=3"], "unknown 'size'"),
    "backend weight": ([*LISTEN, "--backend", "h:1,weight=-1"], "'-1' is not a number of at"),
    "backend id": ([*LISTEN, "--backend", "a b=h:1"], "'a b' is not a valid backend id"),
    "same backend twice": ([*LISTEN, "--backend", "h:1", "--backend", "h:1"], "is given twice"),
    "admin for all": ([*LISTEN, "--admin", "0.0.0.0:1"], "it needs a token"),
    "admin path": ([*LISTEN, "--admin", "unix:x"], "must be absolute"),
    "long path": ([*LISTEN, "--admin", "unix:/" + "a" * 120], "at most 107 bytes"),
    "interval": ([*LISTEN, "--health-interval", "0"], "'0' must be more than 0"),
    "nan": ([*LISTEN, "--health-timeout", "nan"], "'nan' is not a number"),
    "rise": ([*LISTEN, "--rise", "0"], "'0' is not a whole number of at least 1"),
    "path": ([*LISTEN, "--health-path", "health"], "'health' is not a path"),
    "statuses": ([*LISTEN, "--health-expect", "200-100"], "not a whole number of at least 200"),
    "share": ([*LISTEN, "--eject-share", "2"], "'2' is not a share from 0 to 1"),
    "network": ([*LISTEN, "--trust", "10.0.0.1/8"], "is not a network such as 10.0.0.0/8"),
    "cookie": ([*LISTEN, "--affinity-cookie", "a;b"], "is not a cookie name"),
    "token file": ([*LISTEN, "--admin-token-file", "/nowhere"], "No such file"),
    "unknown option": ([*LISTEN, "--hold", "3"], "unrecognized arguments: --hold 3"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_command_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong is said in one line, before anything is opened; exit 2 (A1)."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("balancer: ")
    assert message in said
    assert said.count("\n") == 1


async def run(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "balancer", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_an_address_in_use() -> None:
    """An address in use is one line with the fix, and exit 4 (A2)."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = await run("--listen", place)
    assert code == 4
    assert said == (
        f"balancer: {place} is in use: stop the process that "
        "listens there, or choose another port\n"
    )


async def test_an_access_log_that_cannot_be_written() -> None:
    """A log file that cannot be opened is one line, and exit 4 (A2)."""
    code, said = await run(*LISTEN, "--access-log", "/nowhere/log")
    assert (code, said) == (4, "balancer: --access-log /nowhere/log: No such file or directory\n")


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that cannot be had are refused with numbers; unasked, they are fitted (A2)."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 1000))
    with pytest.raises(StartError, match=r"needs 6,?128 open files, and 1000 are allowed.*436"):
        fit_to_file_limit(parse([*LISTEN, "--max-connections", "3000"]))
    assert fit_to_file_limit(parse(LISTEN)).limits.connections == 436


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    """The socket of a dead balancer is taken over; that of a live one, or a file, is kept (A2)."""
    place = Address(path=tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place.path))
    with (
        listening(place, {}),
        pytest.raises(StartError, match="is in use"),
        listening(place, {}),
    ):
        pass
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(StartError, match="is not a socket"), listening(Address(path=file), {}):
        pass
    assert file.read_text() == "precious"


def test_a_token_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token the admin API may be reached from elsewhere (A3)."""
    monkeypatch.setenv("HITLESS_ADMIN_TOKEN", "s3cret")
    config = parse([*LISTEN, "--admin", "0.0.0.0:1"])
    assert config.admin_token == "s3cret"
    with pytest.raises(ConfigError):
        parse([*LISTEN, "--admin-token-file", "/dev/null"])


async def test_a_token_is_asked_for(start_balancer: Start, tmp_path: Path) -> None:
    """With a token, a call without it or with another is refused (A3)."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    running = await start_balancer("--admin-token-file", str(token))
    address = f"unix:{running.admin_path}"
    for wrong in (None, "other", "s3cret2", "ü"):
        async with AdminClient(address, token=wrong) as client:
            with pytest.raises(AdminError) as caught:
                await client.backends()
            assert caught.value.status == 401
    async with AdminClient(address, token="s3cret") as client:
        assert await client.backends() == ()


async def test_web_pages_cannot_reach_the_admin_api(tmp_path: Path) -> None:
    """On a loopback port without a token, requests sent by a page elsewhere are refused (A3)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "balancer", *LISTEN, "--admin", "127.0.0.1:0",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    del tmp_path
    try:
        assert process.stdout is not None
        url = "http://" + json.loads(await process.stdout.readline())["admin"] + "/backends"
        async with aiohttp.ClientSession() as session:
            for fields, status in (
                ({}, 200),
                ({"Host": "localhost:80"}, 200),
                ({"Origin": "http://evil.example"}, 403),
                ({"Host": "evil.example"}, 403),
            ):
                async with session.get(url, headers=fields) as answer:
                    assert answer.status == status, fields
    finally:
        process.kill()
        await process.wait()


async def test_wrong_calls_of_the_admin_api(start_balancer: Start) -> None:
    """A malformed call earns 400 or 404 with a sentence, and changes nothing (A5)."""
    running = await start_balancer()
    connector = aiohttp.UnixConnector(path=str(running.admin_path))
    async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
        for method, path, body, status, words in (
            ("PUT", "/backends/a-1", "{", 400, "not JSON"),
            ("PUT", "/backends/a-1", "[]", 400, "not a JSON object"),
            ("PUT", "/backends/a-1", "{}", 400, "must be strings"),
            ("PUT", "/backends/a-1", '{"address":"h:1","wait":1}', 400, "'wait' is not a key"),
            ("PUT", "/backends/a-1", '{"address":"h:1","weight":true}', 400, "must be a number"),
            ("PUT", "/backends/a-1", '{"address":"h:1","weight":-1}', 409, "0 or more"),
            ("PUT", "/backends/a%0d%0ab", '{"address":"h:1"}', 400, "is not a valid backend id"),
            (
                "PUT",
                "/backends/a-1",
                '{"address":"h:1","version":"a b"}',
                400,
                "not a valid version",
            ),
            ("PUT", "/weights", '{"weights":{"a":"1"}}', 400, "must be an object"),
            ("PUT", "/active", '{"ids":"a"}', 400, "list of backend ids"),
            ("PUT", "/active", '{"ids":["zz"]}', 404, "no backend 'zz'"),
            ("POST", "/backends/zz/drain", "", 404, "no backend 'zz'"),
            ("DELETE", "/backends/zz", "", 404, "no backend 'zz'"),
            ("GET", "/events?after=x", "", 400, "sequence number"),
            ("GET", "/nowhere", "", 404, "Not Found"),
            ("POST", "/backends/zz/drain?timeout=-1", "", 400, "seconds, 0 or more"),
        ):
            async with session.request(method, path, data=body) as answer:
                problem = json.loads(await answer.text())
                assert (answer.status, problem["status"]) == (status, status), (path, problem)
                assert words in problem["detail"]
    assert await running.admin.backends() == ()


async def test_prometheus_can_read_the_metrics(start_balancer: Start) -> None:
    """The metrics are well-formed, and agree with the statistics (A6)."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - here only

    async with backend() as one:
        running = await start_balancer(*FAST)
        await running.attach(a_1=one)
        async with load(running.host, running.port, clients=3) as clients:
            await clients.more(30)
        connector = aiohttp.UnixConnector(path=str(running.admin_path))
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as session,
            session.get("/metrics") as answer,
        ):
            text = await answer.text()
        statistics = await running.admin.statistics()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    count = statistics["backends"]["a-1"]["requests"]
    key = (
        "hitless_backend_requests_total",
        ("backend", "a-1"),
        ("status", "2xx"),
        ("version", "a"),
    )
    assert samples[key] == count == clients.ok
    assert samples["hitless_latency_seconds_count",] == count
    assert not re.search(r"(?m)^hitless_failures_total [^0]", text)


async def test_request_data_stays_data_in_the_log(start_balancer: Start) -> None:
    """Whatever a client sends, the access log has one valid JSON line for each exchange (A7)."""
    async with backend() as one:
        running = await start_balancer(*FAST)
        await running.attach(a_1=one)
        reader, writer = await asyncio.open_connection(running.host, running.port)
        writer.write(b"GET /%0a%22,$(id)'{}? HTTP/1.1\r\nHost: t\r\nX-Request-Id: \"\n\r\n\r\n")
        assert (await reader.read(12)) == b"HTTP/1.1 400"
        writer.close()
        reader, writer = await asyncio.open_connection(running.host, running.port)
        writer.write(b"GET /%0a%22,$(id)' HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        assert (await reader.read(12)) == b"HTTP/1.1 200"
        await reader.read()
        writer.close()
        await running.stop()
    lines = [json.loads(line) for line in running.access_log.read_text().splitlines()]
    assert [(line["status"], line["path"]) for line in lines] == [
        (400, ""),
        (200, "/%0a%22,$(id)'"),
    ]
