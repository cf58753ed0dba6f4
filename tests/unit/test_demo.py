"""Songs of visitors: what is taken, what is served, what stays."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from data_prep.minisinging import render_clip
from speechbrain_ext import audio, demo, rhythm
from speechbrain_ext.cli import main
from speechbrain_ext.demo import ARCHIVE, Jobs, Limits, Wish, serve
from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    LyricsError,
    ModelError,
    SingBrainError,
)
from speechbrain_ext.inference.song import SongSettings

SECONDS = 2
HOUR = 3600


@pytest.fixture
def jobs(tiny_separator, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(rhythm, "estimate_rhythm", lambda *_: None)
    monkeypatch.setattr(rhythm, "estimate_key", lambda *_: None)
    settings = SongSettings(separator=tiny_separator, transcriber=tiny_model)
    place = tmp_path / "server"
    place.mkdir()
    with Jobs(settings, Limits(max_mb=1, max_seconds=10), place) as jobs:
        yield jobs
    assert list(place.iterdir()) == []


@pytest.fixture
def upload(jobs, noise):
    def make(name="Somebody - Noise.wav", seconds=SECONDS, rate=16000):
        path = jobs.uploads / name
        wav = noise(seconds, rate)
        soundfile.write(path, wav, rate, format="WAV")
        return path

    return make


def left(jobs):
    """Files of songs, by their places in the folder of the server."""
    places = jobs.songs, jobs.root / "inputs"
    return [p for place in places for p in place.rglob("*") if p.is_file()]


# --- what is taken ---------------------------------------------------------


def test_a_song_and_its_archive(jobs, upload):
    shares = []
    job = jobs.work(
        Wish(upload()), lambda stage, share: shares.append((stage, share))
    )
    assert job.title == "Somebody - Noise"
    assert shares[-1] == ("done", 1.0)
    names = job.result.files
    assert {"vocals.wav", "accompaniment.wav", "report.html"} <= set(names)
    assert len(job.result.melodies["vocals"]) > 0
    archive = jobs.file(job.id, ARCHIVE)
    with zipfile.ZipFile(archive) as opened:
        wanted = [f"Somebody - Noise/{name}" for name in names]
        assert opened.namelist() == wanted
        assert opened.testzip() is None
    # Nothing of the visitor's names is on the disk, and no second copy.
    on_disk = sorted(path.name for path in left(jobs))
    assert on_disk == sorted([*names, ARCHIVE])


def test_steps_are_left_out(jobs, upload):
    job = jobs.work(Wish(upload(), isolate=False))
    assert set(job.result.stages) == {"transcribe", "rhythm", "listen"}
    assert not [name for name in job.result.files if name.endswith(".wav")]
    job = jobs.work(Wish(upload(), transcribe=False))
    assert set(job.result.stages) == {"separate", "rhythm", "listen"}
    assert job.result.melodies == {}
    assert "vocals.wav" in job.result.files
    assert "vocals.mid" not in job.result.files
    # The models are loaded once for all, and what is known is not found anew.
    loaded = jobs.chain.separator
    job = jobs.work(Wish(upload("b.wav")))
    assert jobs.chain.separator is loaded
    assert job.result.stages["separate"] == "cached"


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"recording": "none.wav"}, AudioError, "upload it again"),
        ({"recording": "../out.wav"}, AudioError, "no recording that was"),
        ({"recording": "/etc/passwd"}, AudioError, "no recording that was"),
        ({"recording": "link.wav"}, AudioError, "no recording that was"),
        ({"recording": "song.wav#0"}, AudioError, ".wav#0: is not known"),
        ({"recording": "list.m3u8"}, AudioError, ".m3u8: is not known"),
        ({"recording": "text.wav"}, AudioError, "text: is not an audio"),
        ({"recording": "list.mp3"}, AudioError, "list: is not an audio"),
        ({"recording": "large.wav"}, AudioError, "1.3 MB, at most 1 MB"),
        ({"recording": "long.wav"}, AudioError, "longer than 10 s"),
        ({"recording": "fast.wav"}, AudioError, "1 channels at 400000 Hz"),
        ({"singers": 3}, ConfigError, "3 singers: choose 1 or 2"),
        ({"singers": 0}, ConfigError, "0 singers: choose 1 or 2"),
        ({"lyrics": "la " * 9000}, LyricsError, "26999 characters"),
        ({"lyrics": "(..."}, LyricsError, "no word"),
        (
            {"isolate": False, "transcribe": False},
            ConfigError,
            "choose a step",
        ),
    ],
)
def test_what_is_refused(jobs, upload, change, error, told):
    song = upload("song.wav")
    upload("../out.wav")
    upload("song.wav#0")
    upload("large.wav", 4, 160000)
    upload("long.wav", 10.1)
    upload("fast.wav", 1, 400000)
    (jobs.uploads / "text.wav").write_text("la la")
    for name in ("list.mp3", "list.m3u8"):
        (jobs.uploads / name).write_text(f"ffconcat version 1.0\nfile {song}\n")
    (jobs.uploads / "link.wav").symlink_to(jobs.root / "out.wav")
    wish = {"recording": "song.wav"} | change
    wish["recording"] = jobs.uploads / wish["recording"]
    with pytest.raises(error) as caught:
        jobs.work(Wish(**wish))
    line = str(caught.value)
    assert told in line
    # One line that tells no path, and nothing stays.
    assert str(jobs.root) not in line and "\n" not in line
    assert left(jobs) == [] and jobs.jobs == {}
    assert sorted(p.name for p in jobs.root.iterdir()) == sorted(
        ["cache", "out.wav", "songs", "uploads"]
    )


@pytest.mark.parametrize(
    ("singers", "steps", "told"),
    [
        (1, (1, 2, 1), "start this page with --splitter"),
        (2, (1, 2, 1), "2 are split"),
        (3, (1, 3, 2), "3 are split"),
    ],
)
def test_no_more_singers_are_offered_than_are_split(
    singers, steps, told, tmp_path, monkeypatch
):
    gradio = pytest.importorskip("gradio")

    def count(source=None):
        if singers == 1:
            raise ModelError("none is shipped")
        return singers

    monkeypatch.setattr(demo, "count_singers", count)
    with Jobs(folder=tmp_path) as jobs:
        assert jobs.singers == ((1, singers) if singers > 1 else (1,))
        blocks = demo._page(gradio, jobs).blocks.values()
        (slider,) = [b for b in blocks if isinstance(b, gradio.Slider)]
        assert (slider.minimum, slider.maximum, slider.step) == steps
        assert slider.interactive == (singers > 1) and told in slider.info


def test_a_header_is_not_believed(jobs, upload, monkeypatch):
    info = audio.audio_info

    def lies(path):
        return replace(info(path), duration=1.0)

    monkeypatch.setattr(audio, "audio_info", lies)
    with pytest.raises(AudioError, match="longer than 10 s"):
        jobs.work(Wish(upload(seconds=10.1)))
    # As long as may be is not too long.
    jobs._check_length(upload(seconds=10))


def test_names_are_text(jobs, upload):
    job = jobs.work(Wish(upload("a b <i>\u202e$(x) ' \n..wav")))
    assert job.title == "a b <i>$(x) ' ."
    with zipfile.ZipFile(jobs.file(job.id, ARCHIVE)) as opened:
        (top,) = {name.split("/")[0] for name in opened.namelist()}
    assert top == "a b _i___x_ _ ."


@pytest.mark.parametrize(
    "limits", [{"max_mb": 0}, {"queue": -1}, {"max_seconds": float("nan")}]
)
def test_limits_are_above_nothing(limits):
    with pytest.raises(ConfigError, match="use a number above 0"):
        Limits(**limits)


# --- what is served --------------------------------------------------------


def test_only_files_of_the_song_are_served(jobs, upload):
    job = jobs.work(Wish(upload()))
    assert jobs.file(job.id, "vocals.mid").parent == jobs.songs / job.id
    secret = jobs.songs / job.id / "secret.txt"
    secret.write_text("")
    for name in ("secret.txt", "../secret", "..", "", ".", "/etc/passwd"):
        assert jobs.file(job.id, name) is None
    for made in ("", "..", "0" * 32, f"{job.id}/", job.id[:-1]):
        assert jobs.file(made, "vocals.mid") is None


# --- what stays ------------------------------------------------------------


def test_old_songs_are_removed(jobs, upload):
    job = jobs.work(Wish(upload()))
    folder = jobs.uploads / "hash"
    folder.mkdir()
    upload("hash/song.wav")
    now = time.time()
    jobs.sweep(now + HOUR - 10)
    assert jobs.file(job.id, "vocals.mid") and len(left(jobs)) > 5
    assert len([*jobs.cache.iterdir()]) == 6
    jobs.sweep(now + HOUR + 10)
    assert jobs.file(job.id, "vocals.mid") is None
    for place in (jobs.uploads, jobs.songs, jobs.cache):
        assert list(place.iterdir()) == []
    # The next song finds all it needs.
    jobs.work(Wish(upload()))


def test_one_at_a_time_and_none_at_the_end(jobs, upload):
    """The second waits; when the server stops, neither goes on."""
    events, ends = [], []
    inside, go_on = threading.Event(), threading.Event()

    def work(name):
        def tell(stage, share):
            events.append((name, stage))
            inside.set()
            go_on.wait(60)

        try:
            jobs.work(Wish(upload(f"{name}.wav")), tell)
        except BaseException as error:
            ends.append((name, type(error).__name__))

    threads = [threading.Thread(target=work, args=(n,)) for n in "ab"]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    time.sleep(0.1)
    # What is in use is not swept.
    jobs.sweep(time.time() + 2 * HOUR)
    assert len([*jobs.uploads.iterdir()]) == 2
    closing = threading.Thread(target=jobs.close)
    closing.start()
    time.sleep(0.1)
    go_on.set()
    for thread in (*threads, closing):
        thread.join(60)
    assert events == [("a", "separate")]
    assert sorted(ends) == [("a", "_Closed"), ("b", "_Closed")]
    assert not jobs.root.exists()


# --- the command -----------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--max-mb", "0"], "max_mb is 0"),
        (["--port", "99999"], "port 99999"),
        (["--splitter", "none"], "none"),
        (["--host", "no such host"], "choose another --port"),
    ],
)
def test_command_refuses(arguments, told, capsys):
    assert main(["demo", *arguments]) == 2
    line = capsys.readouterr().err
    assert told in line and line.count("\n") == 1


def test_a_library_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    # Both are set for Gradio, and taken back after the test.
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    with pytest.raises(SingBrainError, match=r"singbrain\[demo\]"):
        serve(port=0)
    assert list(tmp_path.iterdir()) == []


# --- the page --------------------------------------------------------------

# Runs the command and keeps a list of hosts that it calls.
SERVER = """
import socket, sys
from speechbrain_ext.cli import main
connect = socket.socket.connect
def told(self, address):
    if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
        print("calls", address, file=sys.stderr, flush=True)
    return connect(self, address)
socket.socket.connect = told
sys.exit(main(["demo", "--port", "0", "--max-mb", "1", "--max-seconds", "20"]))
"""


class Site:
    """A server in a process of its own, with the shipped models."""

    def __init__(self, folder):
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.log = (folder / "log.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.address = self.process.stdout.readline().split()[0]
        self.port = urlsplit(self.address).port

    def ask(self, path, body=None, headers=None, lines=None):
        """Status and text of an answer; `lines` ends an endless one."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        method = "GET" if body is None else "POST"
        client.request(method, path, body, headers or {})
        answer = client.getresponse()
        if lines is None:
            text = answer.read().decode("utf-8", "replace")
        else:
            text = ""
            while lines not in text and (line := answer.readline()):
                text += line.decode()
        client.close()
        return answer.status, text

    def send(self, recording):
        """What the page says to a recording that a program names."""
        config = json.loads(self.ask("/config")[1])
        (event,) = config["dependencies"]
        told = {
            "data": [recording, True, 1, True, ""],
            "fn_index": event["id"],
            "session_hash": os.urandom(4).hex(),
        }
        places = [config["components"], event["inputs"]]
        kinds = {row["id"]: row["type"] for row in places[0]}
        order = [kinds[number] for number in places[1]]
        assert order == ["audio", "checkbox", "slider", "checkbox", "textbox"]
        headers = {"Content-Type": "application/json"}
        status, text = self.ask(
            "/gradio_api/queue/join", json.dumps(told), headers
        )
        assert status == 200, text
        path = f"/gradio_api/queue/data?session_hash={told['session_hash']}"
        _, text = self.ask(path, lines="process_completed")
        (end,) = [line for line in text.split("\n") if "completed" in line]
        return json.loads(end.removeprefix("data:"))

    def end(self, number):
        self.process.send_signal(number)
        code = self.process.wait(120)
        self.log.seek(0)
        return code, self.log.read(), list(self.temporary.iterdir())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("gradio")
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    if site.process.poll() is None:
        site.process.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/gradio_api/file=/etc/passwd", 403),
        ("/gradio_api/file=pyproject.toml", 403),
        ("/gradio_api/file={root}/songs/../songs", 403),
        ("/gradio_api/file=https://example.org/a.wav", 404),
        ("/gradio_api/file=https%3A//example.org/a.wav", 404),
        ("/gradio_api/proxy=https://example.org/a.wav", 404),
        ("/gradio_api/call/work", 404),
        ("/gradio_api/mcp/", 404),
        ("/monitoring", 404),
        ("/docs", 404),
        ("/openapi.json", 404),
        ("/static/%2e%2e/%2e%2e/__init__.py", 403),
        ("/song/%2e%2e/cache", 404),
        ("/song/..%2f..%2fetc/passwd", 404),
        ("/song/" + "0" * 32 + "/report.html", 404),
    ],
)
def test_nothing_else_is_served(site, path, status):
    (root,) = site.temporary.glob("singbrain-demo-*")
    found, text = site.ask(path.format(root=root))
    assert found == status
    assert "root:" not in text and "[project]" not in text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_server_answers_to_its_own_name_only(site):
    assert site.ask("/", headers={"Host": "evil.example"})[0] == 400


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_large_files_are_refused_while_they_come(site):
    bound = "xxx"
    head = (
        f"--{bound}\r\nContent-Disposition: form-data; name=files; "
        'filename="../../a.wav"\r\n\r\n'
    )
    for size, status in ((1_100_000, 413), (1000, 200)):
        body = head.encode() + bytes(size) + f"\r\n--{bound}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={bound}"}
        found, text = site.ask("/gradio_api/upload", body, kind)
        assert found == status, text
    # What came was put where it belongs, whatever its name was.
    (path,) = json.loads(text)
    (root,) = site.temporary.glob("singbrain-demo-*")
    assert Path(path).is_relative_to(root / "uploads")
    assert Path(path).is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "https://example.org/a.wav", "ftp://example.org/a"]
)
def test_a_program_cannot_name_another_file(site, path):
    recording = {"path": path, "meta": {"_type": "gradio.FileData"}}
    told = site.send(recording)
    assert told["success"] is False
    site.log.flush()
    log = Path(site.log.name).read_text()
    assert "calls" not in log


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Four seconds of synthetic song; its name is no HTML."""
    clip = render_clip([7, 0], 4.0)
    wav = clip.voice + 0.3 * clip.accompaniment
    path = tmp_path_factory.mktemp("song") / "A & <b>song.wav"
    soundfile.write(path, wav / np.abs(wav).max() / 2, 16000)
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_song_in_a_browser(site, song, browser, browser_told, wait_for):
    def find(selector):
        return browser.find_elements("css selector", selector)

    def soon(selector):
        return wait_for(lambda: find(selector), 240)[0]

    browser.set_page_load_timeout(240)
    browser.get("about:blank")
    browser_told()
    browser.get(site.address)
    # Without a song it says so.
    soon("#go").click()
    toast = soon(".toast-body")
    wait_for(lambda: "choose or record a song" in toast.text)
    browser.get(site.address)
    soon("input[type=file]").send_keys(str(song))
    soon("[data-testid^=waveform]")
    soon("#go").click()
    soon(".song-all")
    text = find(".song")[0].text
    assert song.stem.replace("<", "").replace(">", "") in text
    assert "4.0 s" in text and " notes" in text
    # What can be downloaded.
    links = {
        link.text: link.get_attribute("href") for link in find(".song-files a")
    }
    assert {"vocals.wav", "accompaniment.wav", "vocals.mid"} <= set(links)
    for url in [*links.values(), find(".song-all")[0].get_attribute("href")]:
        parts = urlsplit(url)
        assert parts.netloc == f"127.0.0.1:{site.port}"
        assert site.ask(parts.path)[0] == 200
    # It is not wider than a telephone.
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1}
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {**size, "mobile": True}
    )
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 390
    # The report shows the notes and plays the stems.
    browser.switch_to.frame(soon("iframe.song-report"))
    names = [label.text for label in find(".track label")]
    assert names == ["mix", "vocals", "accompaniment", "notes"]
    for name in ("vocals", "notes"):
        find(f"#track-{name}")[0].click()
    find("#play")[0].click()
    roll = soon("#roll")
    wait_for(lambda: float(roll.get_attribute("aria-valuenow")) > 0.3)
    find("#play")[0].click()
    browser.switch_to.default_content()
    messages, asked = browser_told()
    assert [text for level, text in messages if level == "SEVERE"] == []
    hosts = {urlsplit(url).netloc for url in asked if url.startswith("http")}
    assert hosts == {f"127.0.0.1:{site.port}"}
    browser.get("about:blank")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.name == "nt", reason="has no SIGTERM to catch")
def test_the_end_leaves_nothing(site):
    """Last, since it ends the server of the tests above."""
    assert site.ask("/")[0] == 200
    code, log, files = site.end(signal.SIGTERM)
    assert (code, files) == (130, [])
    # It called nobody, and complained about nothing but its end.
    assert [line for line in log.split("\n") if "calls" in line] == []
    assert log.splitlines()[-1] == "singbrain: error: stopped"
