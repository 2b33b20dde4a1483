"""Several workers side by side, each with a device of its own; what they make comes in the order of what they got."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_order(
    items: Iterable[Item], lanes: Sequence[Callable[[Iterator[Item]], Iterator[Made]]], stop: threading.Event
) -> Generator[Made, None, None]:
    """What ``lanes`` make of ``items``, in the order of the items.

    A lane takes items one after the other and gives what it makes of each, in their order; it may take several before
    it gives the first. One lane runs in the calling thread; several have a thread each, and an item goes to the lane
    that asks first. What a lane raises is raised here, after all that is made was given; ``stop`` is set then, and when
    this generator is closed: no lane gets another item, and it is up to the lanes to leave the ones they have.
    """
    if len(lanes) == 1:
        yield from lanes[0](iter(items))
        return
    source, taking = enumerate(items), threading.Lock()
    made: SimpleQueue[tuple[int, Made] | BaseException | None] = SimpleQueue()

    def work(lane: Callable[[Iterator[Item]], Iterator[Made]]) -> None:
        numbers: deque[int] = deque()

        def take() -> Iterator[Item]:
            while not stop.is_set():
                with taking:
                    taken = next(source, None)
                if taken is None:
                    return
                numbers.append(taken[0])
                yield taken[1]

        try:
            for one in lane(take()):
                made.put((numbers.popleft(), one))
        except BaseException as error:
            made.put(error)
        else:
            made.put(None)

    with ThreadPoolExecutor(len(lanes), "restore") as threads:
        try:
            for lane in lanes:
                threads.submit(work, lane)
            early: dict[int, Made] = {}
            failure: BaseException | None = None
            wanted, busy = 0, len(lanes)
            while busy:
                found = made.get()
                if isinstance(found, tuple):
                    early[found[0]] = found[1]
                else:
                    busy -= 1
                    if found is not None:
                        stop.set()
                        failure = failure or found
                while wanted in early:
                    yield early.pop(wanted)
                    wanted += 1
            yield from (early[number] for number in sorted(early))
            if failure is not None:
                raise failure
        finally:
            stop.set()
