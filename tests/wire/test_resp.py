"""Commands as Redis reads them."""

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_node.wire.resp import encode_command, is_unavailable


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        pytest.param([b"PING"], b"*1\r\n$4\r\nPING\r\n", id="alone"),
        pytest.param([b"A", b""], b"*2\r\n$1\r\nA\r\n$0\r\n\r\n", id="empty argument"),
        pytest.param(
            [b"SUBSCRIBE", b"user-events", b"a\r\nb"],
            b"*3\r\n$9\r\nSUBSCRIBE\r\n$11\r\nuser-events\r\n$4\r\na\r\nb\r\n",
            id="a line break is only bytes",
        ),
    ],
)
def test_command_is_an_array_of_bulk_strings(arguments: list[bytes], command: bytes) -> None:
    assert encode_command(*arguments) == command


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(), min_size=1), max_size=5))
def test_commands_are_read_back(commands: list[list[bytes]]) -> None:
    reader = hiredis.Reader()
    reader.feed(b"".join(encode_command(*command) for command in commands))
    assert [reader.gets() for _ in commands] == commands
    assert reader.gets() is False


def test_command_has_a_name() -> None:
    with pytest.raises(ValueError, match="a command has at least its name"):
        encode_command()


@pytest.mark.parametrize(
    ("error", "unavailable"),
    [
        ("NOPERM User ann has no permissions to run the 'client|setname' command", True),
        ("NOPERM this user has no permissions to run the 'client' command", True),
        ("ERR unknown command 'CLIENT', with args beginning with: 'SETNAME' 'a'", True),
        ("unknown command `CLIENT`, with args beginning with:", True),
        ("ERR Unknown subcommand or wrong number of arguments for 'SETNAME'", True),
        ("NOAUTH Authentication required.", False),
        ("LOADING Redis is loading the dataset in memory", False),
        ("ERR max number of clients reached", False),
        ("ERR DB index is out of range", False),
    ],
)
def test_command_that_a_server_does_not_offer(error: str, unavailable: bool) -> None:
    assert is_unavailable(error) is unavailable
