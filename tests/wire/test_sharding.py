"""The shard of a user and the tags of shards: fixed for ever, and even on clusters."""

import json
from pathlib import Path

import pytest
from redis.crc import key_slot

from sse_node.wire.sharding import SHARD_COUNTS, murmur2, shard_of, tag_of

VECTORS = json.loads((Path(__file__).parent.parent / "shards.json").read_text())
SLOTS = 16384


@pytest.mark.parametrize("vector", VECTORS["users"], ids=lambda vector: vector["user"][:12])
def test_the_hash_and_the_shards_of_a_user_never_change(vector: dict[str, object]) -> None:
    user = str(vector["user"])
    assert murmur2(user.encode()) == vector["hash"]
    assert {str(each): shard_of(user, each) for each in SHARD_COUNTS} == vector["shards"]


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def test_the_tags_never_change(shards: int) -> None:
    assert [tag_of(each, shards) for each in range(shards)] == VECTORS["tags"][str(shards)]


@pytest.mark.parametrize(
    ("data", "digest"),
    # Of the reference implementation in C: lengths 0 to 4 modulo 4.
    [
        (b"", 0),
        (b"a", 0x92685F5E),
        (b"ab", 0x1AA14063),
        (b"abc", 0x13577C9B),
        (b"abcd", 0x26873021),
    ],
)
def test_the_hash_is_murmurhash2(data: bytes, digest: int) -> None:
    assert murmur2(data) == digest


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def test_shards_are_as_large_as_each_other(shards: int) -> None:
    users = 400 * shards
    sizes = [0] * shards
    for number in range(users):
        sizes[shard_of(f"user-{number}", shards)] += 1
    assert min(sizes) > 300
    assert max(sizes) < 500


def masters_of(slots: list[int], masters: int) -> list[int]:
    """Return how many of the slots each master has, as `redis-cli --cluster create` divides."""
    ends = [round((number + 1) * SLOTS / masters) for number in range(masters)]
    begins = [0, *ends[:-1]]
    return [
        sum(begin <= slot < end for slot in slots) for begin, end in zip(begins, ends, strict=True)
    ]


@pytest.mark.parametrize("shards", SHARD_COUNTS)
@pytest.mark.parametrize("masters", [3, 4, 5, 6, 9, 12])
def test_masters_share_evenly(shards: int, masters: int) -> None:
    slots = [key_slot(tag_of(each, shards).encode()) for each in range(shards)]
    held = masters_of(slots, masters)
    assert sum(held) == shards
    assert max(held) - min(held) <= 1
