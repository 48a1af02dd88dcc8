"""Damage to the bytes of a file, reproducible from a seed."""

import random
from collections.abc import Iterator

INTERESTING = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x1f\x8b\x08\x00", b"NaN")


def mutate(content: bytes, chance: random.Random) -> bytes:
    """One to four edits: bits flipped, bytes set, spans cut, doubled, inserted, zeroed, or the end cut off."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        # Most of what can go wrong is in a file's first bytes.
        reach = chance.choice((32, 200, len(damaged)))
        start = chance.randrange(max(1, min(reach, len(damaged))))
        end = start + chance.choice((1, 1, 4, 16, 300))
        match chance.randrange(7):
            case 0 if damaged:
                damaged[start] ^= 1 << chance.randrange(8)
            case 1 if damaged:
                damaged[start] = chance.randrange(256)
            case 2:
                del damaged[start:end]
            case 3:
                damaged[start:start] = damaged[start:end]
            case 4:
                damaged[start : start + chance.choice((0, 4))] = chance.choice(INTERESTING)
            case 5:
                damaged[start:end] = bytes(len(damaged[start:end]))
            case 6:
                del damaged[chance.randrange(len(damaged) + 1) :]
    return bytes(damaged)


def mutations(sound: list[bytes], *, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` damaged copies, of each of these in turn; none is the sound one itself."""
    chance = random.Random(seed)
    for number in range(count):
        original = sound[number % len(sound)]
        while (damaged := mutate(original, chance)) == original:
            pass
        yield damaged


def flipped(content: bytes, bit: int) -> bytes:
    """One bit the other way."""
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
