"""Phones of frames, losses and errors of phones, encoder of mel bands."""

import numpy as np
import pytest
import torch

from speechbrain_ext.brains.lyrics import phone_errors, phone_runs
from speechbrain_ext.datasets import Augment, transcription_dataset
from speechbrain_ext.encoders.spectral import MelEncoder
from speechbrain_ext.errors import LyricsError, ManifestError
from speechbrain_ext.lyrics import align as align_module
from speechbrain_ext.lyrics.acoustic import (
    PhoneHead,
    PhoneModel,
    phone_loss,
    phone_targets,
)
from speechbrain_ext.lyrics.align import align, lines_of
from speechbrain_ext.lyrics.dataset import (
    add_phones,
    phones_at,
    pronunciations,
    read_segments,
    timed_words,
)
from speechbrain_ext.lyrics.lexicon import Lexicon
from speechbrain_ext.lyrics.phones import INDEX
from speechbrain_ext.lyrics.posteriorgram import Posteriorgram

COLUMN = {name: 1 + k for name, k in INDEX.items()}


# --- files -----------------------------------------------------------------


def segments_file(path, rows):
    lines = [f"{a:.4f},{b:.4f},{name}\n" for a, b, name in rows]
    path.write_text("start_s,stop_s,name\n" + "".join(lines))
    return path


def test_segments_are_read_back(tmp_path):
    rows = [(0.5, 0.75, "M"), (0.75, 1.0, "AA-IH"), (1.2, 1.4, "TS")]
    assert read_segments(segments_file(tmp_path / "a.csv", rows)) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word,onset\n", "line 1: expected the columns"),
        ("start_s,stop_s,name\n0.1,x,AA\n", "line 2: expected two times"),
        ("start_s,stop_s,name\n0.1\n", "line 2: expected two times"),
        ("start_s,stop_s,name\n2,1,AA\n", "line 2: goes from 2 to 1 s"),
        (
            "start_s,stop_s,name\n1,2,AA\n1.5,3,M\n",
            "line 3: goes from 1.5 to 3 s after 2 s",
        ),
    ],
)
def test_faulty_segments_are_refused(tmp_path, text, message):
    path = tmp_path / "phones.csv"
    path.write_text(text)
    with pytest.raises(LyricsError, match=message):
        read_segments(path)


# --- phones of frames ------------------------------------------------------


def test_phones_of_frames_by_hand():
    segments = [(0.1, 0.2, "M"), (0.2, 0.4, "AA-IH"), (0.5, 0.6, "TS")]
    times = (np.arange(14) + 0.5) * 0.05
    names = ["SIL"] * 2 + ["M"] * 2 + ["AY"] * 4 + ["SIL"] * 2 + ["T", "S"]
    names += ["SIL"] * 2
    assert phones_at(segments, times).tolist() == [COLUMN[n] for n in names]
    assert phones_at([], times[:2]).tolist() == 2 * [COLUMN["SIL"]]


def test_a_blank_stands_between_a_phone_and_itself_only():
    times = (np.arange(8) + 0.5) * 0.1
    touching = [(0.0, 0.3, "AA"), (0.3, 0.6, "AA"), (0.6, 0.8, "M")]
    aa, m, sil = COLUMN["AA"], COLUMN["M"], COLUMN["SIL"]
    assert phones_at(touching, times).tolist() == [aa, aa, 0, *3 * [aa], m, m]
    apart = [(0.0, 0.2, "AA"), (0.4, 0.8, "AA")]
    found = phones_at(apart, times).tolist()
    assert found == [aa, aa, sil, sil, *4 * [aa]]


def test_words_get_their_phones():
    words = [(0.0, 0.5, "ma"), (0.5, 0.9, "ma"), (1.0, 1.2, "tsu")]
    phones = [
        *((0.0, 0.1, "M"), (0.1, 0.5, "AA"), (0.5, 0.6, "M")),
        *((0.6, 0.9, "AA-IH"), (1.0, 1.1, "TS"), (1.1, 1.2, "UW")),
    ]
    lyrics = timed_words(words, phones)
    assert pronunciations(lyrics) == {
        "ma": ["M AA", "M AY"],
        "tsu": ["T S UW"],
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A song of 10 s as rows of a manifest, with the phones AA then SIL."""
    from speechbrain_ext.audio import write_audio
    from speechbrain_ext.formats import write_notes
    from speechbrain_ext.notes import NoteSequence

    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    wav = 0.1 * rng.standard_normal(160000)
    write_audio(folder / "voice.wav", wav.astype(np.float32), 16000)
    write_notes(NoteSequence([(1, 4, 60)]), folder / "notes.csv")
    segments_file(folder / "phones.csv", [(1, 4, "AA"), (6, 9, "M")])
    shared = {
        "song_id": "a",
        "n_segments": 2,
        "wav": str(folder / "voice.wav"),
        "notes": str(folder / "notes.csv"),
        "phones": str(folder / "phones.csv"),
    }
    return [
        {**shared, "ID": f"a_{k + 1}", "segment": k + 1, "start": 5.0 * k,
         "stop": 5.0 * k + 5}
        for k in range(2)
    ]  # fmt: skip


def test_items_have_the_phones_of_their_slice(corpus):
    items = add_phones(transcription_dataset(corpus, context_s=0.5), corpus)
    first, second = items[0], items[1]
    # 5 s and half a second on one side.
    assert len(first["phone_target"]) == len(second["phone_target"]) == 275
    names = first["phone_target"].tolist()
    assert names[:50] == 50 * [COLUMN["SIL"]]
    assert names[50:200] == 150 * [COLUMN["AA"]]
    names = second["phone_target"].tolist()
    assert names[74:226] == [
        COLUMN["SIL"], *150 * [COLUMN["M"]], COLUMN["SIL"],
    ]  # fmt: skip


def test_transposed_items_have_faster_phones(corpus):
    augment = Augment(jitter_s=0.0, transpose=12, transpose_share=1.0)
    drawn = augment.draw

    def octave_up(rng):
        return {**drawn(rng), "semitones": 12, "silent": False}

    augment.draw = octave_up
    rows = corpus[:1]
    long = [{**rows[0], "stop": 5.0}, {**corpus[1]}]
    items = add_phones(transcription_dataset(long, augment=augment), long)
    names = items[0]["phone_target"].tolist()
    # Ten seconds of the song in five.
    assert names[25:100] == 75 * [COLUMN["AA"]]
    assert names[150:225] == 75 * [COLUMN["M"]]


def test_rows_without_phones_are_refused(corpus):
    rows = [{**row, "phones": None} for row in corpus]
    with pytest.raises(ManifestError, match="a_1 has no phones"):
        add_phones(transcription_dataset(rows), rows)


# --- losses and errors -----------------------------------------------------


def test_runs_and_errors_by_hand():
    aa, m, t, sil = (COLUMN[name] for name in ("AA", "M", "T", "SIL"))
    true = torch.tensor([sil, m, m, aa, 0, aa, sil, t])
    assert phone_runs(true).tolist() == [sil, m, aa, aa, sil, t]
    assert phone_errors(true, true) == (0, 4)
    # An m for the first aa and another for the t.
    said = torch.tensor([m, 0, m, aa, aa, aa, sil, m])
    assert phone_errors(true, said) == (2, 4)
    assert phone_errors(torch.tensor([sil]), torch.tensor([aa])) == (1, 0)


def test_loss_per_frame_is_that_of_all_frames():
    even = torch.full((2, 3, 42), -torch.tensor(42.0).log())
    targets, lengths = phone_targets([["AA", "M", "AA"], []])
    loss = phone_loss(even, torch.ones(2), targets, lengths, per_frame=True)
    # One way each: three phones in three frames, or three blanks.
    assert loss.item() == pytest.approx(np.log(42), rel=1e-5)


# --- encoder ---------------------------------------------------------------


def test_padding_changes_nothing():
    torch.manual_seed(0)
    encoder = MelEncoder(16, 40, (4, 4, 4), (1, 2)).eval()
    wavs = 0.1 * torch.randn(2, 16000)
    with torch.no_grad():
        alone = encoder(wavs[:1, :9600])
        both = encoder(
            wavs * (torch.arange(16000) < 9600)[None], torch.tensor([0.6, 1.0])
        )
    assert both.shape == (2, 50, 16)
    assert torch.allclose(both[0, :30], alone[0], atol=1e-5)
    assert not both[0, 30:].any()


def test_context_is_all_that_a_frame_depends_on():
    torch.manual_seed(0)
    encoder = MelEncoder(16, 40, (4, 4, 4), (1, 2)).eval()
    wavs = 0.1 * torch.randn(1, 32000)
    other = wavs.clone()
    frames = round(encoder.context_s * 50)
    assert frames < 30
    first = 60 + frames
    other[:, first * 320 :] = 0.1 * torch.randn(1, 32000 - first * 320)
    with torch.no_grad():
        one, two = encoder(wavs)[0], encoder(other)[0]
    assert torch.equal(one[:60], two[:60])
    assert not torch.allclose(one[first:], two[first:], atol=1e-3)


def test_an_encoder_and_a_head_make_a_model():
    torch.manual_seed(0)
    model = PhoneModel(
        MelEncoder(16, 40, (4, 4, 4), (1, 2)), PhoneHead(16), chunk_s=0.7
    )
    wav = np.random.default_rng(0).normal(0, 0.1, 32100).astype(np.float32)
    short = model.posteriorgram(wav, 16000)
    assert len(short) == 101
    model.chunk_s = 30.0
    whole = model.posteriorgram(wav, 16000)
    np.testing.assert_allclose(short.probs, whole.probs, atol=1e-5)


# --- alignment -------------------------------------------------------------


def test_long_songs_are_aligned_in_runs_alike(monkeypatch):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(41), 900).astype(np.float32)
    heard = Posteriorgram(probs, 50, blank=rng.uniform(size=900) / 2)
    lexicon = Lexicon(own={"la": "L AA", "mi": ["M IY", "M IH"]})
    words = lines_of(["la", "mi"] * 20)
    once = align(heard, words, lexicon)
    monkeypatch.setattr(align_module, "_MOST_WAYS", 0)
    assert align(heard, words, lexicon) == once


def test_true_phones_put_words_where_they_are():
    from data_prep.minisinging.clip import render_clip

    clip = render_clip([2026, 5], 8.0, noise_db=False, band=False)
    words = timed_words(clip.words, clip.phones)
    times = (np.arange(400) + 0.5) / 50
    columns = phones_at(clip.phones, times)
    probs = np.full((400, 42), 0.1 / 41, np.float32)
    probs[np.arange(400), columns] = 0.9
    rest = probs[:, 1:] / probs[:, 1:].sum(axis=1, keepdims=True)
    heard = Posteriorgram(rest, 50, blank=probs[:, 0])
    found = align(
        heard,
        lines_of(word.word for word in words),
        Lexicon(own=pronunciations(words)),
    )
    errors = [
        abs(one.onset - two.onset)
        for one, two in zip(words, found, strict=True)
    ]
    assert len(errors) >= 5
    assert max(errors) < 0.025
