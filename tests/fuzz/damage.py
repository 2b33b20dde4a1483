"""How a file is damaged, as a strategy of hypothesis: it finds the smallest damage that does harm."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

_HEAD = 2000
_NUMBERS = (b"\0\0", b"\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"9" * 8)


@dataclass(frozen=True)
class Damage:
    """What is done to a file; places are parts of its length, so that they fit every one."""

    bytes_changed: list[tuple[float, int]]
    numbers: list[tuple[float, bytes]]
    repeated: tuple[float, int, int]
    kept: float

    def done_to(self, data: bytes) -> bytes:
        """The damaged file; half of what is changed lies where headers do."""
        damaged, head = bytearray(data), min(len(data), _HEAD)

        def place(part: float) -> int:
            return int(part * 2 * head) if part < 0.5 else int((part * 2 - 1) * len(data))

        for part, value in self.bytes_changed:
            damaged[place(part)] = value
        for part, value in self.numbers:
            damaged[place(part) : place(part) + len(value)] = value
        part, length, times = self.repeated
        at = place(part)
        damaged[at:at] = damaged[at : at + length] * times
        return bytes(damaged[: round(self.kept * len(damaged))])


_PARTS = st.floats(0, 1, exclude_max=True)

DAMAGES = st.builds(
    Damage,
    st.lists(st.tuples(_PARTS, st.integers(0, 255)), max_size=6),
    st.lists(st.tuples(_PARTS, st.sampled_from(_NUMBERS)), max_size=2),
    st.tuples(_PARTS, st.integers(0, 64), st.sampled_from([0, 0, 0, 1, 100])),
    st.just(1.0) | st.floats(0, 1),
)
