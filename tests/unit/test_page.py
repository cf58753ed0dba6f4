"""The page that shows and plays a song, in a real browser too."""

import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from speechbrain_ext.cli import main
from speechbrain_ext.f0 import F0Contour
from speechbrain_ext.formats import write_notes
from speechbrain_ext.lyrics.timed import TimedLyrics, TimedWord
from speechbrain_ext.notes import NoteSequence
from speechbrain_ext.report.page import (
    Melody,
    Page,
    compressed,
    pitch_picture,
    write_page,
)
from speechbrain_ext.rhythm import Rhythm

RATE = 16000
NOTES = NoteSequence(
    [(0.5, 1.5, 60, "Hey"), (1.5, 2.5, 64, "<b>you"), (3, 3.5, 67)]
)
TRUTH = NoteSequence([(0.5, 1.5, 60), (1.5, 2.5, 65), (3, 3.9, 67)])
SECONDS = 5.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Five seconds of A4, as loud as it gets in the middle."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    wav = 0.5 * np.sin(2 * np.pi * 440 * times) * np.hanning(len(times))
    path = tmp_path_factory.mktemp("page") / "song.wav"
    soundfile.write(path, wav, RATE)
    return path


@pytest.fixture(scope="module")
def page(recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    compressed(recording, folder / "song.mp3")
    sound = (folder / "song.mp3").read_bytes()
    frames = np.arange(200) * 0.02 + 0.01
    words = [
        TimedWord("Hey", 0.5, 1.4, 0.9),
        TimedWord("<b>you", 1.5, 2.5, 0.2),
        TimedWord("again", 3.0, 3.4, 0.8, line=1),
    ]
    return Page(
        "Song </script><script>alert(1)</script>",
        SECONDS,
        (
            Melody(
                "voice",
                NOTES,
                F0Contour(frames, np.where(frames < 2, 60.2, 0)),
                TRUTH,
            ),
        ),
        {"mix": sound, "vocals": sound},
        TimedLyrics(words),
        Rhythm(tuple(0.5 * k for k in range(10))),
        pitch_picture(recording),
        {"tempo": "120 beats per minute"},
        ("beats: guessed",),
    )


class Links(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.found, self.scripts = [], 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.found += [v for k, v in attrs if k in ("src", "href", "srcset")]


def data_of(path):
    text = path.read_text("utf-8")
    (found,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>',
        text,
        re.S,
    )
    return json.loads(found)


def test_the_page_is_one_file_that_fetches_nothing(page, tmp_path):
    path = write_page(page, tmp_path / "page.html")
    links = Links()
    links.feed(path.read_text("utf-8"))
    assert links.found == ["data:,"]
    # The title is text: its script is none.
    assert links.scripts == 2
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_the_page_tells_right_from_wrong(page, tmp_path):
    data = data_of(write_page(page, tmp_path / "page.html"))
    (melody,) = data["melodies"]
    assert [row[5] for row in melody["notes"]] == ["right", "extra", "partly"]
    kinds = [row[5] for row in melody["reference"]]
    assert kinds == ["found", "missed", "found"]
    assert melody["notes"][1][3] == "<b>you"
    scores = {row[0]: row[1:] for row in data["scores"]["rows"]}
    assert scores["COnP of voice"] == ["66.7"] * 3
    assert data["beats"][4] == [2.0, 1]


def test_without_anything(tmp_path):
    page = Page("", 0.0, (Melody("", NoteSequence()),))
    data = data_of(write_page(page, tmp_path / "page.html"))
    assert (data["seconds"], data["words"]) == (0, [])


def picture_of(recording, tmp_path):
    import base64

    import cv2

    picture = pitch_picture(recording)
    front = "data:image/png;base64,"
    tiles = []
    for tile in picture["tiles"]:
        assert tile.startswith(front)
        raw = np.frombuffer(base64.b64decode(tile[len(front) :]), np.uint8)
        tiles.append(cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)[..., 3])
    return picture, np.concatenate(tiles, axis=1)


def test_the_spectrum_is_where_the_pitch_is(recording, tmp_path):
    picture, alpha = picture_of(recording, tmp_path)
    rows, columns = alpha.shape
    assert columns * picture["column_s"] == pytest.approx(SECONDS, abs=0.021)
    row, column = np.unravel_index(alpha.argmax(), alpha.shape)
    height = picture["high"] - picture["low"]
    midi = picture["high"] - (row + 0.5) / rows * height
    assert midi == pytest.approx(69, abs=0.4)
    loud = np.flatnonzero(alpha[row] == alpha[row, column])
    middle = (loud.mean() + 0.5) * picture["column_s"]
    assert middle == pytest.approx(SECONDS / 2, abs=0.1)


def test_silence_is_transparent(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    _, alpha = picture_of(tmp_path / "a.wav", tmp_path)
    assert alpha.max() == 0


# --- the command -----------------------------------------------------------


def test_command_makes_a_page(recording, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_notes(NOTES, "song.csv")
    write_notes(TRUTH, "truth.csv")
    arguments = ["--reference", "truth.csv", "--audio", str(recording)]
    assert main(["report", "song.csv", *arguments]) == 0
    data = data_of(tmp_path / "song.html")
    assert list(data["tracks"]) == ["recording"]
    assert data["picture"]["tiles"]
    assert main(["report", "song.csv"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_command_makes_pages_of_an_evaluation(tmp_path, capsys):
    for folder, notes in (("truth", TRUTH), ("found", NOTES)):
        (tmp_path / folder).mkdir()
        for song in ("a & b", "c"):
            write_notes(notes, tmp_path / folder / f"{song}.csv")
    write_notes(TRUTH, tmp_path / "found" / "c.mid")
    write_notes(TRUTH, tmp_path / "found" / "d.csv")
    (tmp_path / "found" / "c.csv").unlink()
    out = tmp_path / "pages"
    arguments = ["--reference", str(tmp_path / "truth"), "-o", str(out)]
    assert main(["report", str(tmp_path / "found"), *arguments]) == 0
    assert "3 songs" in capsys.readouterr().out
    names = sorted(path.name for path in out.iterdir())
    assert names == ["a & b.html", "c.html", "d.html", "index.html"]
    text = (out / "index.html").read_text("utf-8")
    # The worst first; one without reference last.
    order = re.findall(r'<a href="([^"]*)">', text)
    assert order == ["a%20%26%20b.html", "c.html", "d.html"]
    assert "<td>100.0</td>" in text and "<td>33.3</td>" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "no such file"),
        (["song.csv", "-o", "song.pdf"], "must end in .html"),
    ],
)
def test_command_refuses(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_notes(NOTES, "song.csv")
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err


# --- in a browser ----------------------------------------------------------


@pytest.fixture
def shown(browser, browser_told, page, tmp_path):
    """The page in the browser; what it complains about is an error."""
    path = write_page(page, tmp_path / "page.html")
    browser.get("about:blank")
    browser_told()  # what is read is gone
    browser.get(path.as_uri())
    yield browser
    messages, asked = browser_told()
    assert messages == []
    assert path.as_uri() in asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert [url for url in asked if url.startswith("file")] == [path.as_uri()]


def position(browser):
    roll = browser.find_element("id", "roll")
    return float(roll.get_attribute("aria-valuenow"))


def cursor(browser):
    """Left edge, in CSS pixels, of the playhead that is really drawn."""
    return browser.execute_script(
        """
        const roll = document.getElementById("roll");
        const ratio = roll.width / roll.clientWidth;
        const copy = document.createElement("canvas");
        copy.width = roll.width; copy.height = roll.height;
        const pen = copy.getContext("2d", {willReadFrequently: true});
        pen.drawImage(roll, 0, 0);
        const row = pen.getImageData(
          0, Math.round(roll.height * 0.5), roll.width, 1).data;
        const made = document.createElement("canvas").getContext("2d");
        made.fillStyle = getComputedStyle(document.documentElement)
          .getPropertyValue("--cursor");
        made.fillRect(0, 0, 1, 1);
        const [r, g, b] = made.getImageData(0, 0, 1, 1).data;
        for (let x = 0; x < roll.width; x++)
          if (Math.abs(row[4 * x] - r) + Math.abs(row[4 * x + 1] - g)
              + Math.abs(row[4 * x + 2] - b) < 12) return x / ratio;
        return -1;
        """
    )


@pytest.mark.slow
def test_playing_moves_the_cursor(shown, wait_for):
    assert (position(shown), cursor(shown)) == (0, pytest.approx(38, abs=2))
    shown.find_element("id", "play").click()
    wait_for(lambda: position(shown) > 0.4)
    shown.find_element("id", "play").click()
    stopped = position(shown)
    width = shown.find_element("id", "roll").size["width"]
    wanted = 38 + stopped / SECONDS * (width - 38)
    assert cursor(shown) == pytest.approx(wanted, abs=3)
    time.sleep(0.3)
    assert position(shown) == stopped


@pytest.mark.slow
def test_a_click_seeks(shown):
    from selenium.webdriver import ActionChains

    roll = shown.find_element("id", "roll")
    width = roll.size["width"]
    for share in (0.75, 0.25):
        x = 38 + share * (width - 38)
        ActionChains(shown).move_to_element_with_offset(
            roll, round(x - width / 2), 0
        ).click().perform()
        assert position(shown) == pytest.approx(share * SECONDS, abs=0.03)
        assert cursor(shown) == pytest.approx(x, abs=3)
    # A row of a table, and the keyboard.
    fold = shown.find_elements("css selector", "details")[1]
    fold.find_element("tag name", "summary").click()
    fold.find_elements("css selector", "tbody tr")[2].click()
    assert position(shown) == 3.0
    ActionChains(shown).send_keys("\ue012").perform()  # arrow left
    assert position(shown) == 1.0


@pytest.mark.slow
def test_tracks_play_together_and_words_are_told(shown, wait_for):
    from selenium.webdriver import ActionChains

    for name in ("vocals", "notes", "reference"):
        shown.find_element("id", f"track-{name}").click()
    shown.find_element("id", "play").click()
    wait_for(lambda: position(shown) > 0.6)
    ActionChains(shown).send_keys(" ").perform()
    told = shown.find_elements("css selector", "#words .word")
    assert [word.text for word in told] == ["Hey", "<b>you"]
    assert "unsure" in told[1].get_attribute("class")
    assert shown.find_element("tag name", "h1").text.startswith("Song </scr")
    warnings = shown.find_elements("css selector", "#warnings li")
    assert [item.text for item in warnings] == ["beats: guessed"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_window(shown, width):
    # A window is never as narrow as a phone, but its content may be.
    metrics = {"width": width, "height": 740, "deviceScaleFactor": 2}
    shown.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {**metrics, "mobile": width < 500}
    )
    try:
        wide = shown.execute_script(
            "return document.documentElement.scrollWidth"
        )
        assert wide <= width
        roll = shown.find_element("id", "roll")
        assert roll.size["width"] > 0.9 * width - 32
    finally:
        shown.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
