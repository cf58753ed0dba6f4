"""One function over many items: by processes of this computer, or a cluster.

`spread` gives results in the order of the items, whatever does the work:

* `loky`: processes of this computer, by joblib;
* `dask`: a Dask cluster, by `distributed.Client.submit`;
* `ray`: a Ray cluster, by Ray's tasks.

Workers may die. What they were doing is done again by another one, and what was
done is not (but by joblib, which ends all its processes with the first); an
item that costs one worker after the other is given up, and the others are not.
joblib has back-ends for both clusters too, but with them an item that kills its
workers ends the whole run (Dask), a worker that is killed does (Ray), and
results come only when all are there (Ray).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from speechbrain_ext.errors import (
    ClusterError,
    ConfigError,
    optional_library,
)

BACKENDS = ("loky", "dask", "ray")

# Most workers that an item may cost, which is Dask's own default: the first,
# and three that do it again.
DEATHS = 4

# Seconds in which a cluster has to answer.
PATIENCE_S = 15.0

# How pickle, Dask and Ray say that a worker cannot read what it is to do.
_UNREAD = ("Can't get attribute", "deserializ", "failed to import")

# Ray's least; what comes back from songs is small.
_RAY_STORE_BYTES = 80 * 10**6

# Longest name of a folder in which Ray can make its sockets.
_RAY_FOLDER_LENGTH = 30


def spread(
    function: Callable,
    items: Sequence,
    n_jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    gpu: bool = False,
) -> Iterator:
    """Call a function with each of many items, in several processes.

    A local cluster lives as long as the iterator. Scripts that start one with
    Dask keep their calls below `if __name__ == "__main__"`, as for any process
    that Python starts.

    Arguments
    ---------
    function : callable
        Takes an item. It may be called again with an item whose worker died,
        while files of the first call are still there.
    items : sequence
        They, the function and what it returns go through pickle.
    n_jobs : int
        Processes that are started; one of loky is this one. A cluster that
        exists has its own. Default: 1.
    backend : {"loky", "dask", "ray"}
        Default: loky, processes of this computer.
    address : str, optional
        Of the scheduler of a Dask cluster (`tcp://host:8786`) or the head of a
        Ray cluster (`host:6379`, `ray://host:10001`, `auto`). Default: a local
        cluster is started.
    gpu : bool
        Whether an item needs a GPU for itself, which Ray wants to be told.
        Default: False.

    Yields
    ------
    object
        What the function returned, item by item in order; or, in its place, a
        `ClusterError` if an item cost `DEATHS` workers.

    Raises
    ------
    ClusterError
        If the cluster does not answer, is lost on the way, lacks what the
        function needs, or has no GPU but `gpu` is asked for.
    ConfigError
        If the back-end is unknown, or has no address.
    DependencyError
        If the library of the back-end is missing.

    Example
    -------
    >>> list(spread(abs, [-1, 2, -3], n_jobs=2))
    [1, 2, 3]
    """
    if backend not in BACKENDS:
        raise ConfigError(
            f"backend is {backend!r}: use one of {', '.join(BACKENDS)}"
        )
    if backend == "loky":
        if address is not None:
            raise ConfigError(
                f"cluster {address}: is of no use with loky, which is this "
                "computer: use the back-end dask or ray"
            )
        yield from _by_joblib(function, items, n_jobs)
    elif backend == "dask":
        yield from _by_dask(function, items, n_jobs, address)
    else:
        yield from _by_ray(function, items, n_jobs, address, gpu)


def _given_up():
    """What is given in place of a result."""
    return ClusterError(
        f"at least {DEATHS} workers died of it, one after the other: it may "
        "need more memory than they have"
    )


def _in_order(results):
    """Give results by their numbers, 0, 1 ..., as soon as may be."""
    found, place = {}, 0
    for number, result in results:
        found[number] = result
        while place in found:
            yield found.pop(place)
            place += 1


# --- joblib ----------------------------------------------------------------


def _by_joblib(function, items, n_jobs):
    from joblib import Parallel, delayed
    from joblib.externals.loky import process_executor

    place, deaths, own = 0, 0, 0
    while place < len(items):
        work = Parallel(n_jobs=n_jobs, return_as="generator")
        # When one process dies, joblib ends them all, and it cannot be told
        # whose fault it was. After two times the next items go alone.
        alone = deaths >= DEATHS // 2
        left = items[place : place + 1 if alone else len(items)]
        try:
            for result in work(delayed(function)(item) for item in left):
                yield result
                place, deaths, own = place + 1, 0, 0
        except process_executor.TerminatedWorkerError:
            deaths, own = deaths + 1, own + alone
            if own == DEATHS:
                yield _given_up()
                place, deaths, own = place + 1, 0, 0


# --- Dask ------------------------------------------------------------------


def _by_dask(function, items, n_jobs, address):
    distributed = optional_library(
        "distributed", "dask", "dask", "the back-end dask"
    )
    from distributed.client import CancelledError
    from distributed.comm import CommClosedError

    with _dask_client(distributed, n_jobs, address) as client:
        numbers = {}

        def finished(wanted):
            """Numbers and results; None where workers died too often."""
            for number in wanted:
                future = client.submit(function, items[number], pure=False)
                numbers[future] = number
            # Each is fetched as soon as it is there: until then it would be
            # lost with its worker.
            for future in distributed.as_completed(
                list(numbers), loop=client.loop
            ):
                try:
                    result = (future.result(),)
                except distributed.KilledWorker:
                    result = None
                except (ImportError, AttributeError, RuntimeError) as error:
                    raise _unread(error) from None
                except (CancelledError, CommClosedError):
                    left = len(numbers)
                    numbers.clear()  # there is nobody to cancel them
                    raise _lost("Dask", left, items) from None
                yield numbers.pop(future), result

        def results():
            # Dask blames all that a dead worker was to do. Whatever does it
            # alone, at the end, is to blame itself.
            doubtful = []
            for number, result in finished(range(len(items))):
                if result is None:
                    doubtful.append(number)
                else:
                    yield number, *result
            for number in doubtful:
                ((_, result),) = finished([number])
                yield number, *(result or (_given_up(),))

        try:
            yield from _in_order(results())
        finally:
            if numbers:
                client.cancel(list(numbers))


@contextmanager
def _dask_client(distributed, n_jobs, address):
    """A client of a cluster that exists or is made."""
    from dask import config

    if address is not None:
        try:
            client = distributed.Client(
                address, timeout=PATIENCE_S, set_as_default=False
            )
        except (OSError, ValueError, TypeError, asyncio.TimeoutError) as error:
            raise _no_answer("Dask scheduler", address, error) from None
        with client:
            yield client
        return
    with ExitStack() as stack:
        open_ = stack.enter_context
        folder = open_(tempfile.TemporaryDirectory(prefix="singbrain-dask-"))
        # Of the scheduler, too, which takes no such argument.
        open_(config.set({"temporary-directory": folder}))
        open_(_without_logs())
        try:
            cluster = open_(
                distributed.LocalCluster(
                    n_workers=n_jobs,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=None,  # as for the processes of joblib
                    host="127.0.0.1",
                    dashboard_address=None,
                    scheduler_kwargs={
                        "allowed_failures": DEATHS - 1,
                        # Else that of all clusters, with a warning if taken.
                        "dashboard_address": "127.0.0.1:0",
                    },
                    silence_logs=logging.CRITICAL,
                )
            )
            client = open_(distributed.Client(cluster, set_as_default=False))
        except (OSError, RuntimeError, asyncio.TimeoutError) as error:
            raise _no_start("Dask", error) from None
        yield client


@contextmanager
def _without_logs():
    """Keep Dask's logs from handlers that are not its own, as SpeechBrain's."""
    loggers = {
        logger: logger.level
        for logger in map(
            logging.getLogger,
            ("distributed", "distributed.client", "distributed.gc"),
        )
    }
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)


def _no_answer(what, address, error):
    return ClusterError(
        f"no {what} answers at {address} ({_reason(error)}): check the address"
    )


def _unread(error):
    """An error, or what it means if workers could not read their work."""
    told = str(error)
    if isinstance(error, ImportError) or (
        isinstance(error, AttributeError | RuntimeError)
        and any(part in told for part in _UNREAD)
    ):
        return ClusterError(
            f"the workers lack what the work needs ({_reason(error)}): install "
            "the same SingBrain on all computers"
        )
    return error


def _no_start(what, error):
    return ClusterError(
        f"a local {what} cluster could not be started ({_reason(error)}): try "
        "again with fewer jobs, or without a back-end"
    )


def _lost(what, left, items):
    return ClusterError(
        f"the {what} cluster was lost with {left} of {len(items)} to do: run "
        "it again"
    )


def _reason(error):
    """What an error says first, in a few words."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


# --- Ray -------------------------------------------------------------------


def _by_ray(function, items, n_jobs, address, gpu):
    ray = optional_library("ray", "ray", "ray", "the back-end ray")
    from ray.exceptions import RayError, RayTaskError

    with _without_news(), _ray_cluster(ray, n_jobs, address):
        if gpu and not ray.cluster_resources().get("GPU"):
            raise ClusterError("the Ray cluster has no GPU: use the device cpu")
        # Told what to do again by us and not by Ray, which never gives up a
        # task that takes too much memory.
        task = ray.remote(_call).options(max_retries=0, num_gpus=int(gpu))
        running = {
            task.remote(function, item): k for k, item in enumerate(items)
        }
        deaths = Counter()

        def results():
            while running:
                ((done,), _) = ray.wait(list(running), num_returns=1)
                number = running.pop(done)
                try:
                    result = ray.get(done)
                except RayTaskError as error:
                    # What was raised, without the worker's traceback in it.
                    raised = error.cause or error.as_instanceof_cause()
                    raise _unread(raised) from None
                except RayError:
                    deaths[number] += 1
                    if deaths[number] < DEATHS:
                        running[task.remote(function, items[number])] = number
                        continue
                    result = _given_up()
                yield number, result

        try:
            yield from _in_order(results())
        except RayTaskError:
            raise
        except RayError:
            raise _lost("Ray", len(running), items) from None
        finally:
            for left in running:
                with suppress(RayError):
                    ray.cancel(left, force=True)


def _call(function, item):
    return function(item)


@contextmanager
def _without_news():
    """Keep Ray from printing, among our results, that a worker died."""
    from ray._private import worker

    printer = "print_to_stdstream"
    before = getattr(worker, printer, None)
    setattr(worker, printer, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(worker, printer, before)


@contextmanager
def _ray_cluster(ray, n_jobs, address):
    """Be connected to a cluster that exists or is made."""
    if ray.is_initialized():
        # By the caller, who knows to what.
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is not None:
        _check_ray(address)
        try:
            ray.init(address=address, **quiet)
        except Exception as error:  # Ray has no class for it
            raise _no_answer("Ray cluster", address, error) from None
        try:
            yield
        finally:
            ray.shutdown()
        return
    # Nothing is told to anybody.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir=_ray_home(), ignore_cleanup_errors=True
    ) as folder:
        try:
            ray.init(
                address="local",
                num_cpus=n_jobs,
                include_dashboard=False,
                object_store_memory=_RAY_STORE_BYTES,
                _temp_dir=folder,
                **quiet,
            )
        except Exception as error:  # Ray has no class for it
            raise _no_start("Ray", error) from None
        try:
            yield
        finally:
            ray.shutdown()


def _ray_home():
    """Where Ray can make sockets: their paths may not be long."""
    home = tempfile.gettempdir()
    if sys.platform != "win32" and len(home) > _RAY_FOLDER_LENGTH:
        return "/tmp"
    return home


def _check_ray(address):
    """Refuse an address at which nobody listens; Ray would wait for long."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return
    try:
        place = host.strip("[]"), int(port)
        socket.create_connection(place, PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise _no_answer("Ray cluster", address, error) from None
