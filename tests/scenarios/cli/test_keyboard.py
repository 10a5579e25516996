"""Keys act at once, and the terminal is given back as it was."""

import asyncio
import os
import termios

from scenarios.cli.keyboard import Key, can_hear, listening


async def test_a_key_acts_at_once() -> None:
    """A key without Enter calls its action; other keys do nothing; the terminal is restored."""
    master, terminal = os.openpty()
    try:
        before = termios.tcgetattr(terminal)
        pressed, done = [], asyncio.Event()

        def act() -> None:
            pressed.append("q")
            done.set()

        with listening({"q": Key("quit", act)}, terminal):
            assert not termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO)
            assert termios.tcgetattr(terminal)[3] & termios.ISIG
            os.write(master, b"x\xffzq")
            async with asyncio.timeout(30):
                await done.wait()
        assert pressed == ["q"]
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(master)
        os.close(terminal)


def test_a_pipe_has_no_keys() -> None:
    """Where standard input is no terminal of ours, nothing is read from it."""
    reader, writer = os.pipe()
    assert not can_hear(reader)
    os.close(reader)
    os.close(writer)
