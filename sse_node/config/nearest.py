"""Names that were most likely meant by a misspelt one."""

from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the name that differs by the fewest letters; the first of several."""
    return min(names, key=lambda other: distance(name, other))


def is_near_miss(name: str, other: str) -> bool:
    """Return whether a name is most likely the other one misspelt.

    One letter in four may differ, in short names one letter: `PROT` is PORT, `REPORT` is not.
    """
    return 0 < distance(name, other) <= max(1, len(other) // 4)


def distance(name: str, other: str) -> int:
    """Return how many letters to add, remove, replace or swap with the next one (OSA distance)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(name, 1):
        above, before, row = before, row, [i]
        for j, letter_of_other in enumerate(other, 1):
            is_other = letter != letter_of_other
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + is_other)
            is_swap = i > 1 and j > 1 and letter == other[j - 2] and name[i - 2] == letter_of_other
            row.append(min(least, above[j - 2] + 1) if is_swap else least)
    return row[-1]
