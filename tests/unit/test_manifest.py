import csv

import numpy as np
import pytest
import soundfile

from data_prep.manifest import (
    dataset_rows,
    read_manifest,
    segments,
    summarize,
    write_manifest,
)
from speechbrain_ext.errors import ConfigError, ManifestError, OutputError


def row(song="7", segment=1, n_segments=2, start=0.0, stop=5.0, **more):
    return {
        "ID": f"{song}_{segment}",
        "song_id": song,
        "segment": segment,
        "n_segments": n_segments,
        "start": start,
        "stop": stop,
        "duration": stop - start,
        "split": "test",
        "singer": "Ana",
        "license": "CC0",
        "wav": f"{{data_root}}/{song}.wav",
        "notes": f"{{manifest_root}}/notes/{song}.csv",
    } | more


ROWS = [row(), row(segment=2, start=5.0, stop=12.25)]


@pytest.fixture
def corpus(tmp_path):
    """A song of 12.25 s with two notes, and a folder for its manifest."""
    (tmp_path / "audio").mkdir()
    (tmp_path / "out" / "notes").mkdir(parents=True)
    soundfile.write(tmp_path / "audio" / "7.wav", np.zeros(98000), 8000)
    (tmp_path / "out" / "notes" / "7.csv").write_text(
        "onset_s,offset_s,midi\n0.5,1,60\n1,2,62\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (10.0, [(0, 5), (5, 10)]),
        (12.4, [(0, 5), (5, 12.4)]),  # 2.48 segments: 2
        (12.6, [(0, 5), (5, 10), (10, 12.6)]),  # 2.52 segments: 3
        (5.0, [(0, 5)]),
        (2.4, [(0, 2.4)]),  # 0.48 segments, but never none
        (0.1, [(0, 0.1)]),
    ],
)
def test_segments(duration, expected):
    assert segments(duration, 5.0) == expected


def test_segments_last_half_to_one_and_a_half():
    for duration in np.arange(2.6, 60, 0.37):
        parts = segments(float(duration), 5.0)
        start, stop = parts[-1]
        assert 2.5 <= stop - start <= 7.5
        assert parts[0][0] == 0 and stop == pytest.approx(duration, abs=1e-6)
        assert all(a[1] == b[0] for a, b in zip(parts, parts[1:], strict=False))


def test_segments_of_a_third_of_a_second():
    assert segments(1.0, 1 / 3) == [
        (0.0, 0.333333),
        (0.333333, 0.666667),
        (0.666667, 1.0),
    ]


@pytest.mark.parametrize("segment_s", [0, -5, float("nan"), float("inf"), "5"])
def test_segment_length_must_be_positive(segment_s):
    with pytest.raises(ConfigError, match="segment_s"):
        segments(10.0, segment_s)


@pytest.mark.parametrize("duration", [0, -1.0, float("nan")])
def test_duration_must_be_positive(duration):
    with pytest.raises(ManifestError, match="cannot be cut"):
        segments(duration, 5.0)


def test_file_is_readable_by_hand(tmp_path):
    path = write_manifest(ROWS, tmp_path / "test.csv")
    assert path.read_text() == (
        "ID,song_id,segment,n_segments,start,stop,duration,split,singer,"
        "license,wav,notes\n"
        "7_1,7,1,2,0,5,5,test,Ana,CC0,{data_root}/7.wav,"
        "{manifest_root}/notes/7.csv\n"
        "7_2,7,2,2,5,12.25,7.25,test,Ana,CC0,{data_root}/7.wav,"
        "{manifest_root}/notes/7.csv\n"
    )


def test_round_trip_resolves_folders(corpus):
    path = write_manifest(ROWS, corpus / "out" / "test.csv")
    first, second = read_manifest(path, corpus / "audio")
    assert first == row(
        wav=str(corpus / "audio" / "7.wav"),
        notes=str(corpus / "out" / "notes" / "7.csv"),
    )
    assert (second["segment"], second["start"], second["stop"]) == (2, 5, 12.25)
    assert isinstance(second["segment"], int)
    assert isinstance(first["stop"], float)


def test_round_trip_of_awkward_text_and_empty_media(tmp_path):
    rows = [
        row('a, "b"', n_segments=1, stop=1 / 3, singer="Ñandú, José"),
        row("ü", n_segments=1, stop=1e-3, video="{data_root}/ü.npy"),
    ]
    path = write_manifest(rows, tmp_path / "m.csv")
    read = read_manifest(path, tmp_path, check_files=False)
    assert read[0]["singer"] == "Ñandú, José"
    assert read[0]["song_id"] == 'a, "b"'
    assert read[0]["video"] is None
    assert read[0]["stop"] == pytest.approx(1 / 3, abs=1e-6)
    assert read[1]["video"] == str(tmp_path / "ü.npy")


def test_not_overwritten_without_asking(tmp_path):
    path = write_manifest(ROWS, tmp_path / "m.csv")
    with pytest.raises(OutputError, match="exists already"):
        write_manifest(ROWS, path)
    write_manifest([row(n_segments=1)], path, overwrite=True)
    assert len(read_manifest(path, check_files=False)) == 1


def test_failing_write_leaves_nothing(tmp_path):
    with pytest.raises(ManifestError, match="1 of 2 segments"):
        write_manifest(ROWS[:1], tmp_path / "m.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no segments"),
        ([ROWS[0], ROWS[0]], "7_1 occurs twice"),
        ([row(n_segments=1, start=5.0, stop=5.0)], "starts at 5 s and stops"),
        ([row(n_segments=1, start=5.0, stop=4.0)], "starts at 5 s and stops"),
        ([row(n_segments=1, start=-1.0)], "at least 0"),
        ([row(n_segments=1, stop=float("nan"))], "not finite"),
        ([row(n_segments=1, duration=4.0)], "lasts 5 s but says 4 s"),
        ([row(n_segments=1, split="dev")], "'dev' is none of"),
        ([row(n_segments=1, start=1.0)], "the one before ends at 0 s"),
        (
            [row(n_segments=3), ROWS[1] | {"n_segments": 3}],
            "number 3 is missing",
        ),
        ([ROWS[0], row(segment=2, start=5.1, stop=9.0)], "starts at 5.1 s"),
        ([ROWS[0], ROWS[1] | {"split": "train"}], "disagree on split"),
        ([ROWS[0], ROWS[1] | {"singer": "Bo"}], "disagree on singer"),
        ([ROWS[0], ROWS[1] | {"wav": "{data_root}/8.wav"}], "disagree on wav"),
        ([ROWS[0] | {"words": "x", "lyrics": "y"}], "unknown column lyrics"),
        ([row(n_segments=1, kind="rap")], "kind 'rap' is none of singing"),
        ([{k: v for k, v in ROWS[0].items() if k != "stop"}], "no stop"),
    ],
)
def test_rules(rows, message, tmp_path):
    with pytest.raises(ManifestError, match=message) as error:
        write_manifest(rows, tmp_path / "m.csv")
    assert str(tmp_path / "m.csv") in str(error.value)


def test_labels(tmp_path):
    labels = {"kind": "speech", "dataset": "x", "song": "", "n_singers": 2}
    rows = [part | labels for part in ROWS]
    path = write_manifest(rows, tmp_path / "m.csv")
    head = path.read_text("utf-8").splitlines()[0]
    assert head.endswith(",license,dataset,kind,song,n_singers,wav,notes")
    for part in read_manifest(path, check_files=False):
        assert part["kind"] == "speech" and part["dataset"] == "x"
        assert part["song"] == "" and part["n_singers"] == 2
        assert "task" not in part


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_segments,", "", "no column n_segments"),
        ("7_2,", "7_1,", "7_1 occurs twice"),
        ("5,12.25,", "5,3,", "starts at 5 s and stops at 3 s"),
        (",5,12.25,", ",five,12.25,", "line 3: start is 'five'"),
        ("7_2,7,2,", "7_2,7,2.5,", "line 3: segment is '2.5'"),
        (",Ana", "", "line 2: has another number of cells"),
        ("{data_root}/7", "somewhere/7", "disagree on wav"),
        ("7_2,7,2,2,", "7_2,7,3,2,", "number 2 is missing"),
    ],
)
def test_damaged_files_are_refused(corpus, old, new, message):
    path = write_manifest(ROWS, corpus / "out" / "test.csv")
    with pytest.raises(ManifestError, match=message):
        read_manifest(edited(path, old, new), corpus / "audio")


def test_path_without_root_is_refused(corpus):
    path = write_manifest(ROWS, corpus / "out" / "test.csv")
    path.write_text(path.read_text().replace("{data_root}/", "audio/"))
    with pytest.raises(ManifestError, match="starts with neither"):
        read_manifest(path, corpus)


def test_missing_audio_names_file_manifest_and_remedy(corpus):
    path = write_manifest(ROWS, corpus / "out" / "test.csv")
    with pytest.raises(ManifestError) as error:
        read_manifest(path, corpus / "elsewhere")
    text = str(error.value)
    assert str(corpus / "elsewhere" / "7.wav") in text
    assert str(path) in text and "check data_root" in text
    assert "\n" not in text


def test_a_channel_of_a_file_and_a_contour(corpus):
    rows = [row(n_segments=1, wav="{data_root}/7.wav#0", f0="{data_root}/7.pv")]
    path = write_manifest(rows, corpus / "out" / "test.csv")
    with pytest.raises(ManifestError, match=r"audio/7\.pv: no such file"):
        read_manifest(path, corpus / "audio")
    (corpus / "audio" / "7.pv").write_text("0\n60\n")
    (found,) = read_manifest(path, corpus / "audio")
    assert found["wav"] == str(corpus / "audio" / "7.wav#0")
    assert found["f0"] == str(corpus / "audio" / "7.pv")
    # Only audio has channels, and the file itself must be there.
    for wrong in ({"f0": "{data_root}/7.pv#0"}, {"wav": "{data_root}/8.wav#0"}):
        write_manifest([rows[0] | wrong], path, overwrite=True)
        with pytest.raises(ManifestError, match="no such file"):
            read_manifest(path, corpus / "audio")


def test_data_root_is_needed(corpus):
    path = write_manifest(ROWS, corpus / "out" / "test.csv")
    with pytest.raises(ManifestError, match="data_root"):
        read_manifest(path)
    rows = read_manifest(path, check_files=False)
    assert rows[0]["wav"] == "{data_root}/7.wav"
    assert rows[0]["notes"] == str(corpus / "out" / "notes" / "7.csv")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'ID,"a\n'])
def test_no_manifest_at_all(content, tmp_path):
    path = tmp_path / "m.csv"
    with pytest.raises(ManifestError, match="no such manifest"):
        read_manifest(path, tmp_path)
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"m\.csv"):
        read_manifest(path, tmp_path)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path, tmp_path)


def test_manifest_and_data_may_move(corpus):
    write_manifest(ROWS, corpus / "out" / "test.csv")
    (corpus / "out").rename(corpus / "moved")
    (corpus / "audio").rename(corpus / "disk")
    rows = read_manifest(corpus / "moved" / "test.csv", corpus / "disk")
    assert rows[0]["notes"] == str(corpus / "moved" / "notes" / "7.csv")


def test_dataset_rows_feed_a_speechbrain_dataset(corpus):
    from speechbrain.dataio.dataset import DynamicItemDataset

    path = write_manifest(ROWS, corpus / "out" / "test.csv")
    items = dataset_rows(read_manifest(path, corpus / "audio"))
    dataset = DynamicItemDataset(items)
    dataset.add_dynamic_item(
        lambda start, stop: stop - start,
        takes=["start", "stop"],
        provides="length",
    )
    dataset.set_output_keys(["id", "song_id", "length"])
    assert dataset[1] == {"id": "7_2", "song_id": "7", "length": 7.25}


def test_dataset_rows_refuse_a_collision():
    with pytest.raises(ManifestError, match="7_1"):
        dataset_rows(ROWS + ROWS)


def test_summary_counts_songs_hours_notes_singers(corpus):
    notes = corpus / "out" / "notes"
    (notes / "8.csv").write_text("onset_s,offset_s,midi\n0,1,60\n")
    (notes / "9.csv").write_text("onset_s,offset_s,midi\n")
    test = write_manifest(ROWS, corpus / "out" / "test.csv")
    train = write_manifest(
        [
            row("8", n_segments=1, stop=3600.0, split="train"),
            row("9", n_segments=1, stop=1800.0, split="train", singer="Bo"),
        ],
        corpus / "out" / "train.csv",
    )
    summary = summarize(test, train, corpus="toy")
    assert list(summary.splits) == ["train", "test"]
    train_split = summary.splits["train"]
    assert (train_split.songs, train_split.segments) == (2, 2)
    assert train_split.hours == pytest.approx(1.5)
    assert (train_split.notes, train_split.singers) == (1, 2)
    test_split = summary.splits["test"]
    assert (test_split.songs, test_split.segments) == (1, 2)
    assert test_split.hours == pytest.approx(12.25 / 3600)
    assert (test_split.notes, test_split.singers) == (2, 1)
    assert summary.singers == 2  # Ana sings in both splits
    assert summary.table().splitlines() == [
        "toy",
        "split    songs  segments    hours     notes  singers",
        "train        2         2     1.50         1        2",
        "test         1         2     0.00         2        1",
        "all          3         4     1.50         3        2",
        "licence: CC0",
    ]


def test_notes_that_are_not_annotated_are_not_counted(corpus):
    path = write_manifest(ROWS, corpus / "out" / "test.csv")
    other = [row("8", n_segments=1, split="train", notes=None)]
    train = write_manifest(other, corpus / "out" / "train.csv")
    assert "notes" not in train.read_text()
    lines = summarize(train, path).table().splitlines()
    assert lines[2:5] == [
        "train        1         1     0.00         -        1",
        "test         1         2     0.00         2        1",
        "all          2         3     0.00         2        1",
    ]
    assert summarize(train).table().splitlines()[3].split()[4] == "-"


def test_csv_is_plain(tmp_path):
    path = write_manifest(ROWS, tmp_path / "m.csv")
    with path.open(newline="") as stream:
        assert [r["ID"] for r in csv.DictReader(stream)] == ["7_1", "7_2"]
