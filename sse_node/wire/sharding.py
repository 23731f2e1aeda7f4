"""Which shard a user belongs to, and the hash tag of each shard: fixed for ever, docs/redis.md.

A user's shard is MurmurHash2 of the name, 32 bits with seed 0 as in nginx's `split_clients`, times
the number of shards, divided by 2^32: shards are equal ranges of the hash. Other languages agree
with `tests/shards.json`.

Tags are such that the slots of S shards lie evenly among the 16384 of a cluster: masters that have
equal ranges of slots have equal numbers of shards, give or take one.
"""

from binascii import crc_hqx
from functools import lru_cache
from struct import iter_unpack
from typing import Final

MAX_SHARDS: Final = 64
SLOTS: Final = 16384
SHARD_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64)

_MULTIPLIER: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
# Arbitrary: names are hashed when a stream opens and for each event published, 2 us each.
_REMEMBERED: Final = 16384
# The smallest number whose slot is 128 + 256 k, for each k.
_TAGS: Final = (
    40821, 5469, 3017, 2113, 574, 18834, 8518, 26368, 18617, 19713, 47996, 39599, 13318, 40602,
    7842, 6946, 3124, 2020, 40912, 41816, 46782, 15298, 447, 17090, 48132, 49036, 4093, 5197, 7971,
    6875, 16559, 40731, 712, 21474, 22778, 29899, 1079, 69524, 3271, 2375, 41560, 4928, 11376,
    10272, 18471, 931, 9859, 11998, 11688, 9749, 621, 12584, 3342, 2246, 4638, 69417, 8280, 9384,
    41453, 12149, 29789, 22868, 1587, 802,
)  # fmt: skip


def murmur2(data: bytes) -> int:
    """Return MurmurHash2 of `data`: 32 bits, seed 0."""
    mixed = len(data)
    whole = len(data) & ~3
    for (block,) in iter_unpack("<I", data[:whole]):
        block = block * _MULTIPLIER & _MASK
        block = (block ^ block >> 24) * _MULTIPLIER & _MASK
        mixed = mixed * _MULTIPLIER & _MASK ^ block
    if whole < len(data):
        mixed ^= int.from_bytes(data[whole:], "little")
        mixed = mixed * _MULTIPLIER & _MASK
    mixed = (mixed ^ mixed >> 13) * _MULTIPLIER & _MASK
    return mixed ^ mixed >> 15


@lru_cache(_REMEMBERED)
def shard_of(name: str, shards: int) -> int:
    """Return the number of the shard, from 0, that a user belongs to.

    Args:
        name: of the user, ASCII. A stream without a user belongs to the shard of its first channel.
        shards: how many there are, one of `SHARD_COUNTS`.
    """
    return murmur2(name.encode()) * shards >> 32


def slot_of(key: str) -> int:
    """Return the slot of a key in a cluster: the CRC16 of its hash tag, or of all of it."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    hashed = tag if opened and closed and tag else key
    return crc_hqx(hashed.encode(), 0) % SLOTS


def tag_of(shard: int, shards: int) -> str:
    """Return the hash tag of a shard, without braces.

    Args:
        shard: its number, from 0.
        shards: how many there are, one of `SHARD_COUNTS`.
    """
    return str(_TAGS[(2 * shard + 1) * MAX_SHARDS // (2 * shards)])
