"""Run two things side by side and say how much faster one of them is."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter


class Skipped(Exception):
    """A benchmark cannot run here; the message says why."""


@dataclass(frozen=True)
class Speedup:
    """How many times faster one way is than another.

    Arguments
    ---------
    ratios : tuple of float
        Time of the slower divided by time of the faster, one per pair of
        runs made directly after each other.

    Example
    -------
    >>> str(Speedup((9.0, 30.0, 10.5)))
    '10.5 times as fast (9.0 to 30.0 in 3 pairs of runs)'
    """

    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        """Middle of the ratios."""
        return median(self.ratios)

    def __str__(self) -> str:
        low, high = min(self.ratios), max(self.ratios)
        return (
            f"{self.median:.1f} times as fast ({low:.1f} to {high:.1f} in "
            f"{len(self.ratios)} pairs of runs)"
        )


def _seconds(run):
    start = perf_counter()
    run()
    return perf_counter() - start


def _repeat(function, times):
    """Call a function, and let go of each result before the next one."""
    for _ in range(times):
        function()


def speedup(
    ours: Callable, theirs: Callable, pairs: int = 7, shortest_s: float = 0.01
) -> Speedup:
    """Time two functions in turn: theirs, ours, theirs, ours ...

    Whatever else the machine does slows both of a pair alike, so the ratio
    within a pair means more than the two times. Both run once before, to load
    and to warm up. A function faster than `shortest_s` is repeated within its
    turn.

    Arguments
    ---------
    ours, theirs : callable
        Without arguments.
    pairs : int
        Number of pairs, at least 1.
    shortest_s : float
        Least seconds of one turn.

    Returns
    -------
    Speedup
        Time of theirs over time of ours, per run.

    Example
    -------
    >>> from time import sleep
    >>> speedup(lambda: sleep(0.02), lambda: sleep(0.1), pairs=1).median > 2
    True
    """
    runs = []
    for function in (theirs, ours):
        _seconds(function)
        repeats = max(1, round(shortest_s / max(_seconds(function), 1e-7)))
        runs.append((function, repeats))
    ratios = []
    for _ in range(pairs):
        slow, fast = (
            _seconds(lambda f=f, n=n: _repeat(f, n)) / n for f, n in runs
        )
        ratios.append(slow / fast)
    return Speedup(tuple(ratios))


def show(main: Callable, arguments=None) -> int:
    """Print the lines of a benchmark, or why it is skipped.

    Arguments
    ---------
    main : callable
        Takes the list of command-line arguments (None: those of the process)
        and yields lines.
    arguments : list of str, optional
        Passed on.

    Returns
    -------
    int
        Exit code: 0, also if skipped; 2 if the input is wrong.
    """
    import sys

    from speechbrain_ext.errors import SingBrainError

    try:
        for line in main(arguments):
            print(line, flush=True)
    except Skipped as reason:
        print(f"skipped: {reason}")
    except SingBrainError as error:
        print(f"singbrain: error: {error}", file=sys.stderr)
        return 2
    return 0
