"""Run two things side by side and say how much faster one of them is."""

import tracemalloc
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


def segment_options(parser, seconds, arguments=None, shortest_s=10.0):
    """Options of benchmarks that read segments of a song.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Gets `--seconds` and `--pairs`.
    seconds : float
        Default length of the song.
    arguments : list of str, optional
        Command line; default: that of the process.
    shortest_s : float
        Least length of the song, of which segments are drawn. Default: 10 s.

    Returns
    -------
    argparse.Namespace

    Raises
    ------
    ConfigError
        If the song is too short.
    """
    from speechbrain_ext.errors import ConfigError

    parser.add_argument(
        "--seconds",
        type=float,
        default=seconds,
        help=f"length of the song (default: {seconds:g})",
    )
    parser.add_argument(
        "--pairs", type=int, default=5, help="pairs of runs (default: 5)"
    )
    options = parser.parse_args(arguments)
    if options.seconds < shortest_s:
        raise ConfigError(
            f"a song of {options.seconds:g} s has no choice of segments of "
            f"{shortest_s / 2:g} s: make it at least {shortest_s:g} s"
        )
    return options


def peak_bytes(function, *arguments):
    """Memory that a call takes at its worst.

    Arguments
    ---------
    function : callable
    *arguments
        For it.

    Returns
    -------
    int

    Example
    -------
    >>> 10**6 <= peak_bytes(bytes, 10**6) < 1.1 * 10**6
    True
    """
    tracemalloc.start()
    result = function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return peak


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
