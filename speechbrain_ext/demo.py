"""A page in the browser on which songs go through `SongChain`.

`Jobs` does the work and knows nothing of the web: each song gets a folder of
its own with a name that cannot be guessed, in which all files have our names,
never the user's. `make_app` puts a page in front of it.

What a visitor can reach is counted up (`REACHABLE`, and the files of a job by
name); the rest of Gradio is shut off, and so is all that would ask another
host for anything.
"""

from __future__ import annotations

import html
import itertools
import math
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from speechbrain_ext import audio
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    LyricsError,
    ModelError,
    OutputError,
    SingBrainError,
    optional_library,
)
from speechbrain_ext.files import atomic_path
from speechbrain_ext.inference.song import SongChain, SongResult, SongSettings
from speechbrain_ext.inference.splitter import count_singers

ARCHIVE = "song.zip"
REPORT = "report.html"
TITLE_LENGTH = 100
LYRICS_LENGTH = 20_000  # characters: ten times a long song
# Stereo at the highest rate that music is sold in: a header that states more
# would fill the disk.
MAX_SAMPLES_PER_S = 2 * 192_000
# Seconds between looks for what is too old.
SWEEP_S = 30.0

LRC_LINE = re.compile(r"(?m)^\s*\[\d+:\d+(\.\d+)?\]")

# Paths of Gradio that its page needs. All else, such as fetching links and
# looking at the server, answers "not found".
REACHABLE = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json"
    r"|/(assets|static|svelte)/.*"
    r"|/gradio_api/(info|upload|upload_progress|startup-events)/?"
    r"|/gradio_api/(queue/(join|data)|heartbeat/\w+|reset|cancel)/?"
    r"|/gradio_api/file=(?!\w{2,}:).*"
)


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Arguments
    ---------
    max_mb : float
        Size of a recording, in 10^6 bytes. Default: 200.
    max_seconds : float
        Length of a recording. Default: 900.
    keep_seconds : float
        How long results are kept. Default: 3600.
    queue : int
        How many songs may wait. Default: 8.

    Raises
    ------
    ConfigError
        If one of them is not above 0, or has no end.
    """

    max_mb: float = 200.0
    max_seconds: float = 900.0
    keep_seconds: float = 3600.0
    queue: int = 8

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value:g}: use a number above 0")


class Wish(NamedTuple):
    """What is to be done with a recording.

    Arguments
    ---------
    recording : Path
        A file in the folder of uploads.
    isolate : bool
        Whether to take the voice out. Default: True.
    singers : int
        How many sing; more than one are split. Default: 1.
    transcribe : bool
        Whether to find notes. Default: True.
    lyrics : str
        What is sung: plain text, or LRC. Default: nobody knows.
    """

    recording: Path
    isolate: bool = True
    singers: int = 1
    transcribe: bool = True
    lyrics: str = ""


class Job(NamedTuple):
    """A song that was worked on.

    Arguments
    ---------
    id : str
        32 hexadecimal digits, which cannot be guessed.
    title : str
        From the name that the visitor's file has.
    result : SongResult
    """

    id: str
    title: str
    result: SongResult


class _Closed(BaseException):
    """The server stops; no stage may take it for a fault of its own."""


class Jobs:
    """Works on songs of visitors, one at a time, and forgets them again.

    Arguments
    ---------
    settings : SongSettings, optional
        Models and device. Default: the shipped models.
    limits : Limits, optional
    folder : str or Path, optional
        Where the folder for all files is made. Default: the system's folder
        for temporary files.

    Raises
    ------
    ModelError
        If a model that is named is missing.

    Example
    -------
    >>> with Jobs(folder=getfixture("tmp_path")) as jobs:
    ...     jobs.work(Wish(jobs.uploads / "none.wav"))
    Traceback (most recent call last):
    speechbrain_ext.errors.AudioError: the recording is no longer there: \
upload it again
    >>> list(getfixture("tmp_path").iterdir())
    []
    """

    def __init__(self, settings=None, limits=None, folder=None):
        self.limits = limits or Limits()
        self.chain = SongChain(settings)
        try:
            self._split_into = count_singers(self.chain.settings.splitter)
        except ModelError:
            if self.chain.settings.splitter is not None:
                raise
            self._split_into = 1
        self.root = Path(
            tempfile.mkdtemp(prefix="singbrain-demo-", dir=folder)
        ).resolve()
        self.uploads, self.songs = self.root / "uploads", self.root / "songs"
        self.cache = self.root / "cache"
        for place in (self.uploads, self.songs, self.cache):
            place.mkdir()
        self.jobs: dict[str, Job] = {}
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def singers(self) -> tuple[int, ...]:
        """How many singers may be asked for: one, or as the splitter tells."""
        return (1, self._split_into) if self._split_into > 1 else (1,)

    def check(self, wish: Wish) -> None:
        """Refuse what is too much, too strange or nothing at all.

        Arguments
        ---------
        wish : Wish

        Raises
        ------
        AudioError
            If the recording is not one that was uploaded, is too large or too
            long, or cannot be read.
        LyricsError
            If the lyrics are too long.
        ConfigError
            If nothing is chosen, or a number of singers that the splitter does
            not tell apart.
        """
        path = Path(wish.recording)
        if not path.resolve().is_relative_to(self.uploads):
            raise AudioError("this is no recording that was uploaded here")
        if not path.is_file():
            raise AudioError(
                "the recording is no longer there: upload it again"
            )
        if wish.singers not in self.singers:
            known = " or ".join(map(str, self.singers))
            raise ConfigError(f"{wish.singers} singers: choose {known}")
        lyrics = wish.lyrics.strip()
        if len(lyrics) > LYRICS_LENGTH:
            raise LyricsError(
                f"the lyrics have {len(lyrics)} characters, at most "
                f"{LYRICS_LENGTH} are taken: shorten them"
            )
        chosen = wish.isolate, wish.singers > 1, wish.transcribe, lyrics
        if not any(chosen):
            raise ConfigError("nothing is to be done: choose a step")
        if path.suffix.lower() not in (
            *audio.AUDIO_SUFFIXES,
            *audio.VIDEO_SUFFIXES,
        ):
            raise AudioError(
                f"{path.suffix or 'no suffix'}: is not known as a kind of "
                "sound file: convert it, to .wav for example"
            )
        size = path.stat().st_size / 1e6
        if size > self.limits.max_mb:
            raise AudioError(
                f"the file has {size:.1f} MB, at most "
                f"{self.limits.max_mb:g} MB are taken: shorten or compress it"
            )

    def _check_length(self, path):
        """Count the samples: headers may be wrong, or lie."""
        info = audio.audio_info(path)
        samples = info.sample_rate * info.channels
        if samples > MAX_SAMPLES_PER_S:
            raise AudioError(
                f"the recording has {info.channels} channels at "
                f"{info.sample_rate} Hz, at most {MAX_SAMPLES_PER_S} samples "
                "per second are taken: convert it"
            )
        limit = self.limits.max_seconds
        length = info.duration or 0.0
        if length <= limit:
            blocks = audio.stream_audio(path, 10.0)
            counts = itertools.accumulate(map(len, blocks))
            longer = (n for n in counts if n > limit * info.sample_rate)
            length = next(longer, 0) / info.sample_rate
        if length > limit:
            raise AudioError(
                f"the recording is longer than {limit:g} s, the most that is "
                "taken: cut it"
            )

    def work(
        self,
        wish: Wish,
        progress: Callable[[str, float], None] | None = None,
    ) -> Job:
        """Work on a song, when all that came before are done.

        Arguments
        ---------
        wish : Wish
        progress : callable, optional
            See `SongChain.run`.

        Returns
        -------
        Job
            Its files can be had by `file`.

        Raises
        ------
        SingBrainError
            As `check` and `SongChain.run`, without any path of this computer.
            Nothing is left then.
        """
        self.check(wish)
        with self._lock:
            return self._work(wish, progress)

    def _work(self, wish, progress):
        def tell(stage, share):
            if self._closing.is_set():
                raise _Closed
            if progress is not None:
                progress(stage, share)

        if self._closing.is_set():
            raise _Closed
        made = uuid4().hex
        title = _title(wish.recording)
        inputs, folder = self.root / made, self.songs / made
        inputs.mkdir()
        song = inputs / f"song{Path(wish.recording).suffix.lower()}"
        try:
            shutil.copyfile(wish.recording, song)
            self._check_length(song)
            lyrics = None
            if wish.lyrics.strip():
                timed = LRC_LINE.search(wish.lyrics)
                lyrics = inputs / ("lyrics.lrc" if timed else "lyrics.txt")
                lyrics.write_text(wish.lyrics, "utf-8")
            artist, dash, name = title.partition(" - ")
            self.chain = self.chain.with_settings(
                isolate=wish.isolate,
                singers=wish.singers,
                transcribe=wish.transcribe,
                title=(name if dash else title).strip(),
                artist=artist.strip() if dash else "",
                report=True,
            )
            result = self.chain.run(
                song, folder, lyrics, progress=tell, cache=self.cache
            )
            _pack(folder, result.files, title)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise OutputError(
                f"the song could not be kept ({error.strerror}): try later"
            ) from error
        except SingBrainError as error:
            shutil.rmtree(folder, ignore_errors=True)
            line = self._without_paths(error, title)
            raise type(error)(line) from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(inputs, ignore_errors=True)
        result.missing = {
            stage: self._without_paths(why, title)
            for stage, why in result.missing.items()
        }
        result.warnings = [
            self._without_paths(line, title) for line in result.warnings
        ]
        job = Job(made, title, result)
        self._ended[made] = time.time()
        self.jobs[made] = job
        return job

    def _without_paths(self, line, title):
        """One line that tells nothing of this computer's folders."""
        line = re.sub(
            rf"{re.escape(str(self.root))}[^\s:,;]*/song\.\w+",
            lambda _: title,
            " ".join(str(line).split()),
        )
        return re.sub(rf"{re.escape(str(self.root))}(/\w+)*/?", "", line)

    def file(self, job_id: str, name: str) -> Path | None:
        """Find a file that may be served.

        Arguments
        ---------
        job_id, name : str
            As a visitor asks for them.

        Returns
        -------
        Path or None
            None if there is no such job, or it has no such file.
        """
        job = self.jobs.get(job_id)
        if job is None or name not in (*job.result.files, ARCHIVE):
            return None
        path = self.songs / job.id / name
        return path if path.is_file() else None

    def sweep(self, now: float | None = None) -> None:
        """Remove what is older than it may be.

        Arguments
        ---------
        now : float, optional
            Seconds as of `time.time`. Default: now.
        """
        old = (time.time() if now is None else now) - self.limits.keep_seconds
        for made, ended in list(self._ended.items()):
            if ended < old:
                self.jobs.pop(made, None)
                self._ended.pop(made, None)
                shutil.rmtree(self.songs / made, ignore_errors=True)
        # What a song that is being worked on has taken up stays.
        if not self._lock.acquire(blocking=False):
            return
        try:
            for path in (*self.uploads.iterdir(), *self.cache.iterdir()):
                with suppress(OSError):
                    if _changed(path) < old:
                        shutil.rmtree(path, ignore_errors=True)
                        path.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Stop the work at its next step and remove everything."""
        self._closing.set()
        with self._lock:
            self.jobs.clear()
            shutil.rmtree(self.root, ignore_errors=True)


def _changed(path):
    """When anything in a folder, or a file, was last written."""
    times = [path.stat().st_mtime]
    if path.is_dir():
        times += [part.stat().st_mtime for part in path.rglob("*")]
    return max(times)


def _title(path) -> str:
    """What a song is called, from the name of its file: text, no path."""
    text = "".join(c for c in Path(path).stem if c.isprintable())
    return " ".join(text.split())[:TITLE_LENGTH] or "song"


def _file_name(title) -> str:
    """Name for the visitor's own disk."""
    return re.sub(r"[^\w .-]|^[ .]+", "_", title) or "song"


def _pack(folder, names, title):
    """Put the files of a song into one, below a folder of its own."""
    top = _file_name(title)
    with (
        atomic_path(folder / ARCHIVE) as temporary,
        zipfile.ZipFile(
            temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1
        ) as archive,
    ):
        for name in names:
            archive.write(folder / name, f"{top}/{name}")


# --- the page --------------------------------------------------------------

INTRODUCTION = """\
# SingBrain

A song goes in; its voice, notes, timed words and a page that plays them come
out. It is worked on by the computer that shows this page, and by no other.
"""

STYLE = """
.gradio-container { max-width: 1100px !important; margin: 0 auto !important; }
.song-report { width: 100%; height: min(1100px, 94vh); border: 0; }
.song-files { display: flex; flex-wrap: wrap; gap: 6px 14px; margin: 10px 0; }
.song-files a { text-decoration: underline; }
.song-told { margin: 6px 0; padding-left: 20px; list-style: disc; }
"""

STAGES = {
    "separate": "taking the voice out",
    "split": "telling the singers apart",
    "transcribe": "finding notes",
    "align": "timing the lyrics",
    "rhythm": "finding the beat",
    "listen": "making the report",
    "write": "writing files",
    "done": "done",
}


def result_html(job: Job) -> str:
    """What is shown of a finished song.

    Arguments
    ---------
    job : Job

    Returns
    -------
    str
        HTML in which nothing of the visitor's is anything but text.

    Example
    -------
    >>> result = SongResult(Path("a.wav"), Path("out"), 2.0, ["vocals.mid"])
    >>> shown = result_html(Job("0" * 32, "<i>", result))
    >>> "&lt;i&gt;" in shown, "<i>" in shown
    (True, False)
    """
    result, place = job.result, f"song/{job.id}"
    notes = sum(map(len, result.melodies.values()))
    facts = [f"{result.seconds:.1f} s"]
    facts += [f"{notes} notes"] if result.melodies else []
    facts += [f"{len(result.lyrics)} words"] if len(result.lyrics) else []
    if result.rhythm is not None:
        facts.append(f"{result.rhythm.tempo:.0f} beats per minute")
    facts += [result.key.name] if result.key else []
    links = "".join(
        f'<a href="{place}/{name}" download>{name}</a>' for name in result.files
    )
    if REPORT in result.files:
        # It tells the title and what is missing itself.
        more = (
            f'or <a href="{place}/{REPORT}" target="_blank" rel="noopener">'
            "open the report alone</a>"
        )
        report = (
            f'<iframe class="song-report" src="{place}/{REPORT}" '
            'sandbox="allow-scripts" allow="autoplay" '
            'title="The song, its notes and words"></iframe>'
        )
    else:
        told = [f"{stage}: {why}" for stage, why in result.missing.items()]
        lines = "".join(
            f"<li>{html.escape(line)}</li>" for line in told + result.warnings
        )
        more, report = "", f'<ul class="song-told">{lines}</ul>'
    return (
        f'<div class="song"><p><b>{html.escape(job.title)}</b>: '
        f"{html.escape(', '.join(facts))}</p>"
        f'<p><a class="song-all" href="{place}/{ARCHIVE}" download>Download '
        f'everything</a> {more}</p><p class="song-files">{links}</p>{report}'
        "</div>"
    )


def make_app(jobs: Jobs, any_host: bool = False):
    """Make the web application.

    Arguments
    ---------
    jobs : Jobs
    any_host : bool
        Whether to answer under names other than localhost. Default: False.

    Returns
    -------
    fastapi.FastAPI

    Raises
    ------
    DependencyError
        If gradio is missing.
    """
    # Read by Gradio when it is imported, or when its parts are made.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(jobs.uploads)
    gradio = optional_library("gradio", "gradio", "demo", "the demo")
    from fastapi import FastAPI
    from fastapi.responses import FileResponse, PlainTextResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def only_what_is_needed(request, go_on):
        path = request.scope["path"]
        if path.startswith("/song/") or REACHABLE.fullmatch(path):
            return await go_on(request)
        return PlainTextResponse("not found", 404)

    if not any_host:
        # A page of another site could call its own name 127.0.0.1.
        app.add_middleware(
            TrustedHostMiddleware,
            allowed_hosts=["localhost", "127.0.0.1", "[::1]"],
        )

    @app.api_route("/song/{job_id}/{name}", methods=["GET", "HEAD"])
    def song_file(job_id: str, name: str):
        path = jobs.file(job_id, name)
        if path is None:
            return PlainTextResponse("not found: it may have expired", 404)
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-store",
        }
        if name == REPORT:
            # Whatever may be in a song's page, it is none of this site's.
            headers["Content-Security-Policy"] = "sandbox allow-scripts"
            return FileResponse(path, headers=headers)
        stem = _file_name(jobs.jobs[job_id].title)
        shown = f"{stem}.zip" if name == ARCHIVE else f"{stem} {name}"
        return FileResponse(path, headers=headers, filename=shown)

    return gradio.mount_gradio_app(
        app,
        _page(gradio, jobs),
        path="/",
        footer_links=[],
        run_history=False,
        max_file_size=round(jobs.limits.max_mb * 1e6),
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        # Fonts that every computer has, and hints that can be read.
        theme=gradio.themes.Default(
            primary_hue="blue",
            font=("system-ui", "sans-serif"),
            font_mono=("monospace",),
        ).set(block_info_text_color="*neutral_600"),
        css=STYLE,
    )


def _page(gradio, jobs):
    """What Gradio shows."""
    limits, most = jobs.limits, jobs.singers[-1]
    longest = f"{limits.max_seconds / 60:g} minutes and {limits.max_mb:g} MB"

    def work(
        recording,
        isolate,
        singers,
        transcribe,
        lyrics,
        progress=gradio.Progress(),  # noqa: B008 (Gradio wants it so)
    ):
        if recording is None:
            raise gradio.Error(
                "choose or record a song first", print_exception=False
            )
        wish = Wish(
            Path(recording), isolate, int(singers), transcribe, lyrics or ""
        )
        try:
            job = jobs.work(
                wish,
                lambda stage, share: progress(share, STAGES.get(stage, stage)),
            )
        except SingBrainError as error:
            line = html.escape(" ".join(str(error).split()))
            raise gradio.Error(
                line, duration=None, print_exception=False
            ) from None
        except _Closed:
            raise gradio.Error(
                "the server stops", print_exception=False
            ) from None
        return result_html(job)

    with gradio.Blocks(title="SingBrain", analytics_enabled=False) as page:
        gradio.Markdown(INTRODUCTION)
        with gradio.Row():
            with gradio.Column():
                recording = gradio.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    buttons=["download"],  # not the one that shares
                    label=f"Song: at most {longest}",
                )
                lyrics = gradio.Textbox(
                    label="Lyrics (may be empty)",
                    info="Line by line; with lines' times, as in an .lrc file, "
                    "words are found more surely.",
                    lines=5,
                    max_lines=14,
                    max_length=LYRICS_LENGTH,
                )
            with gradio.Column():
                isolate = gradio.Checkbox(
                    True,
                    label="Isolate the voice",
                    info="Off for recordings of voices alone.",
                )
                transcribe = gradio.Checkbox(
                    True,
                    label="Transcribe",
                    info="Find the notes: MIDI, CSV, MusicXML.",
                )
                # All that lies between is what no model is there for.
                singers = gradio.Slider(
                    1,
                    max(most, 2),
                    1,
                    step=max(most - 1, 1),
                    label="Singers",
                    info=f"{most} are split."
                    if most > 1
                    else "To split several, start this page with --splitter "
                    "MODEL.",
                    interactive=most > 1,
                )
                start = gradio.Button("Go", variant="primary", elem_id="go")
        shown = gradio.HTML(elem_id="result", min_height=80)
        start.click(
            work,
            [recording, isolate, singers, transcribe, lyrics],
            shown,
            concurrency_limit=1,
            api_visibility="private",
        )
    _refuse_links(gradio, recording)
    page.queue(max_size=limits.queue, default_concurrency_limit=1)
    return page


def _refuse_links(gradio, component):
    """Keep a component from fetching links given in place of a file."""
    own = component.async_move_resource_to_block_cache

    async def move(url_or_file_path):
        if re.match(r"\w+:", str(url_or_file_path or "")):
            raise gradio.Error("links are not taken: upload a file")
        return await own(url_or_file_path)

    component.async_move_resource_to_block_cache = move


# --- the server ------------------------------------------------------------


def serve(
    settings: SongSettings | None = None,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Show the page until Ctrl-C or a SIGTERM.

    Arguments
    ---------
    settings : SongSettings, optional
        Models and device. Default: the shipped models.
    limits : Limits, optional
    host : str
        Address to listen at. Default: only this computer can connect.
    port : int
        0 takes one that is free. Default: 7860.
    ready : callable, optional
        Called with the page's address when it can be opened.

    Raises
    ------
    ConfigError
        If the address cannot be had.
    ModelError
        If a model that is named is missing.
    DependencyError
        If gradio is missing.
    """
    with (
        _terminable(),
        _listening(host, port) as listener,
        Jobs(settings, limits) as jobs,
    ):
        local = host in ("localhost", "127.0.0.1", "::1")
        app = make_app(jobs, any_host=not local)
        import uvicorn

        taken = listener.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        if ready is not None:
            ready(f"http://{name}:{taken}")
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2)
        )
        with _sweeping(jobs):
            server.run(sockets=[listener])


@contextmanager
def _listening(host, port):
    """A socket at an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"cannot listen at {host} port {port} ({reason}): choose "
                "another --port, or 0 for any"
            ) from None
        yield listener


@contextmanager
def _terminable():
    """Let SIGTERM end the program as Ctrl-C does, so that it can clean up."""

    def stop(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


@contextmanager
def _sweeping(jobs):
    """Look for what is too old from time to time."""
    end = threading.Event()

    def look():
        while not end.wait(min(SWEEP_S, jobs.limits.keep_seconds)):
            jobs.sweep()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
