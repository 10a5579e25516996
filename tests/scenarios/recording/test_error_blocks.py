"""Errors are found in logs of five languages and of JSON loggers, and nothing else is."""

import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.recording.error_block import ErrorBlock
from scenarios.recording.error_blocks import ErrorBlocks

PYTHON = """
import logging
logging.basicConfig(format='%(asctime)s %(levelname)s %(message)s')
try:
    try:
        {}['a']
    except KeyError as error:
        raise ValueError('no such key') from error
except ValueError:
    logging.exception('request s1-000012-1 failed')
logging.warning('all is well: nothing failed')
try:
    raise ExceptionGroup('several', [ValueError('one'), TypeError('two')])
except ExceptionGroup:
    logging.exception('group')
print('Error: this is only said', flush=True)
try:
    eval('1 +')
except SyntaxError:
    logging.exception('syntax')
"""
NODE = """
const e = new Error('column "status" does not exist'); e.code = '42703';
console.log('listening on 3000');
console.error('POST /orders s1-000345-2 failed', e);
console.error(new TypeError('wrapped', {cause: e}));
console.log('done');
"""
JAVA = """\
2026-01-01 10:00:00 INFO  Started in 2.1 s
2026-01-01 10:00:01 ERROR o.a.c.c.C.[dispatcherServlet] - Servlet.service() threw exception
java.lang.RuntimeException: outer
	at shop.Orders.save(Orders.java:41)
	at java.base/java.lang.reflect.Method.invoke(Method.java:569)
Caused by: org.postgresql.util.PSQLException: ERROR: column "status" does not exist
	at org.postgresql.core.v3.QueryExecutorImpl.receive(QueryExecutorImpl.java:2713)
	... 8 more
2026-01-01 10:00:02 INFO  served
Exception in thread "main" java.lang.IllegalArgumentException: first
second line
	at shop.Main.main(Main.java:3)
"""
GO = """\
2026/01/01 10:00:00 http: panic serving 127.0.0.1:5000: runtime error: index out of range [3]
goroutine 19 [running]:
net/http.(*conn).serve.func1()
	/usr/local/go/src/net/http/server.go:1850 +0xbf
main.handle(0x0)
	/app/main.go:12 +0x1d
created by net/http.(*Server).Serve
	/usr/local/go/src/net/http/server.go:3102 +0x4db
2026/01/01 10:00:01 listening
"""
RUBY = """\
Puma starting in single mode...
app.rb:3:in `find': no such order (RuntimeError)
	from app.rb:8:in `<main>'
[s1-000007-1] ActiveRecord::StatementInvalid (PG::UndefinedColumn: ERROR:  column "x" missing):
Completed 200 OK in 3ms
"""
CALM = [
    "2026-01-01 INFO GET /errors/at 200",
    "at the end: Error rates are fine",
    "    at rest",
    '{"level":"info","message":"error budget: 1"}',
    '{"level":30,"msg":"ok","err":null}',
    "Exception handling is set up",
    "{not json",
    "Traceback is a word",
    "goroutine pools are warm",
    "",
]


def found(text: str) -> list[ErrorBlock]:
    blocks = ErrorBlocks()
    errors = [block for line in text.splitlines() for block in blocks.feed(line)]
    return [*errors, *blocks.flush()]


def output(*command: str) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def python_log() -> str:
    return output(sys.executable, "-c", PYTHON)


def test_python_logs_its_exceptions(python_log: str) -> None:
    """A chain is one error with its root; a group is one; a request's id is taken from the log."""
    chain, group, syntax = found(python_log)
    assert chain.last_line == "ValueError: no such key"
    assert chain.root == "KeyError: 'a'"
    assert chain.request_id == "s1-000012-1"
    assert group.last_line == "ExceptionGroup: several (2 sub-exceptions)"
    assert syntax.type == "SyntaxError"


@pytest.mark.parametrize("prefix", ["12:00:01 web.1  | ", "[web] "])
def test_process_managers_put_words_before_each_line(python_log: str, prefix: str) -> None:
    """An error behind a process manager's prefix is the same error."""
    prefixed = "".join(f"{prefix}{line}\n" for line in python_log.splitlines())
    assert [one.last_line for one in found(prefixed)] == [
        one.last_line for one in found(python_log)
    ]


def test_node_prints_its_errors() -> None:
    """A stack with properties and a cause is one error, with its SQLSTATE and its root."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on this machine")
    first, second = found(output(node, "-e", NODE))
    assert first.last_line == 'Error: column "status" does not exist'
    assert first.sqlstate == "42703"
    assert first.request_id == "s1-000345-2"
    assert second.last_line == "TypeError: wrapped"
    assert second.root == 'Error: column "status" does not exist'


def test_java_go_and_ruby() -> None:
    """Stacks of the JVM, panics of Go and exceptions of Ruby and Rails are recognised."""
    outer, main = found(JAVA)
    assert outer.last_line == "java.lang.RuntimeException: outer"
    assert outer.root == (
        'org.postgresql.util.PSQLException: ERROR: column "status" does not exist'
    )
    assert main.last_line == "java.lang.IllegalArgumentException: first second line"
    (panic,) = found(GO)
    assert panic.last_line == "panic: runtime error: index out of range [3]"
    ruby, rails = found(RUBY)
    assert (ruby.last_line, ruby.place) == ("RuntimeError: no such order", "app.rb:3")
    assert rails.type == "ActiveRecord::StatementInvalid"
    assert rails.request_id == "s1-000007-1"


def test_json_loggers(python_log: str) -> None:
    """A line of JSON is an error by its level or by the stack that it carries."""
    stack = "\n".join(python_log.splitlines()[1:12])
    lines = [
        {"level": "info", "message": "fine"},
        {"level": "error", "message": "could not save", "request_id": "s1-000009-1"},
        {"level": 50, "msg": "boom", "err": {"type": "DbError", "message": "no", "code": "23502"}},
        {"levelname": "INFO", "message": "handled", "exc_info": stack},
    ]
    said, pino, structlog = found("\n".join(json.dumps(line) for line in lines))
    assert (said.last_line, said.request_id) == ("could not save", "s1-000009-1")
    assert (pino.last_line, pino.sqlstate) == ("DbError: no", "23502")
    assert structlog.last_line == "ValueError: no such key"


@given(st.lists(st.sampled_from(CALM), max_size=30))
def test_calm_logs_hold_no_errors(lines: list[str]) -> None:
    """Words such as error, at, Traceback or goroutine make no error by themselves."""
    assert found("\n".join(lines)) == []


@given(st.lists(st.sampled_from([*CALM, *JAVA.splitlines(), *GO.splitlines(), *RUBY.splitlines()])))
def test_any_mixture_is_read_without_an_error_of_our_own(lines: list[str]) -> None:
    """Whatever order lines come in, each error found says something."""
    assert all(block.last_line for block in found("\n".join(lines)))


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    """No text of a log is too strange to be read."""
    found(text)


@pytest.mark.parametrize("begin", ['{"a":', '{"level":"error","a":', '{"a":['])
def test_json_that_is_nested_too_deeply_is_passed_over(begin: str) -> None:
    """No line of a log ends the run, however deep its document is."""
    assert found(begin * 100_000) == []
