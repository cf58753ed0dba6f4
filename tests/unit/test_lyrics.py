"""Phones, posteriorgrams, acoustic models and pronunciations of lyrics."""

import numpy as np
import pytest
import torch

from speechbrain_ext.errors import (
    AudioError,
    ConfigError,
    DependencyError,
    LyricsError,
    ModelError,
    OutputError,
)
from speechbrain_ext.lyrics import lexicon as lexicon_module
from speechbrain_ext.lyrics.acoustic import (
    PhoneHead,
    PhoneModel,
    TokenModel,
    cepstra,
    folded_ctc,
    load_acoustic,
    phone_loss,
    phone_targets,
    smoothed,
)
from speechbrain_ext.lyrics.lexicon import Lexicon, spoken_form
from speechbrain_ext.lyrics.phones import (
    CONSONANTS,
    INDEX,
    PHONES,
    VOWELS,
    fold,
    folding,
    ipa_to_phones,
)
from speechbrain_ext.lyrics.posteriorgram import (
    Posteriorgram,
    deltas,
    place,
    read_sung,
)
from speechbrain_ext.lyrics.timed import (
    TimedPhone,
    TimedWord,
    read_phones,
    write_phones,
    write_timed,
)

# --- phones ----------------------------------------------------------------


def test_there_are_41_classes():
    assert (len(VOWELS), len(CONSONANTS), len(PHONES)) == (15, 24, 41)
    assert list(PHONES) == sorted(PHONES)


@pytest.mark.parametrize(
    ("symbol", "phones"),
    [
        ("ah0", "AH"),
        ("ER1", "ER"),
        ("+NSN+", "SPN"),
        ("h#", "SIL"),
        ("tcl", "SIL"),
        ("en", "AH N"),
        ("dʒ", "JH"),
        ("oːɹ", "OW R"),
        ("y", "UW"),
        ("Y", "Y"),
        ("EH-IY", "EY"),
        ("<s>", ""),
        ("ˈ", ""),
        ("", ""),
    ],
)
def test_symbols_are_folded(symbol, phones):
    assert fold(symbol) == tuple(phones.split())


def test_phones_of_minisinging_are_known():
    from data_prep.minisinging.lexicon import CONSONANTS as SUNG
    from data_prep.minisinging.lexicon import DIPHTHONGS
    from data_prep.minisinging.lexicon import VOWELS as SUNG_VOWELS

    names = {*SUNG, *SUNG_VOWELS, *DIPHTHONGS}
    assert [name for name in names if not fold(name)] == []


def test_words_in_ipa():
    assert ipa_to_phones("ˌt͡ʃɜːt͡ʃ") == ("CH", "ER", "CH")
    assert ipa_to_phones("fasɛ̃") == ("F", "AA", "S", "EH")


def test_letters_are_no_phones():
    with pytest.raises(ConfigError, match=r"stand for \d of 41"):
        folding(["<pad>", "|0", "1", "2"])
    assert folding(["TS", "<s>"] + list(PHONES))[0, INDEX["T"]] == 0.5


# --- posteriorgrams --------------------------------------------------------


def one_hot(names, rate=50, start=0.0):
    rows = np.eye(41, dtype=np.float32)[[INDEX[name] for name in names]]
    return Posteriorgram(rows, rate, start)


def test_two_segments_land_at_their_times():
    # Published code stretches one of them over the whole song.
    song = place(
        [one_hot(["AA"] * 50, start=6.0), one_hot(["IY"] * 25, start=2.0)],
        10.0,
        frame_rate=100,
    )
    heard = [song.phones[k] for k in song.probs.argmax(axis=1)]
    expected = (["SIL"] * 200 + ["IY"] * 50 + ["SIL"] * 350 + ["AA"] * 100) + [
        "SIL"
    ] * 300
    assert heard == expected
    np.testing.assert_allclose(song.probs.sum(axis=1), 1, atol=1e-6)


def test_rows_between_frames_are_interpolated():
    post = one_hot(["AA", "IY"], rate=10)  # centres 0.05 and 0.15
    rows = post.at([0.05, 0.075, 0.1, 0.15, 0.19, 0.2, -0.01])
    assert rows[:5, INDEX["AA"]] == pytest.approx([1, 0.75, 0.5, 0, 0])
    assert rows[:, INDEX["SIL"]].tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_segments_that_do_not_fit_are_refused():
    one, two = one_hot(["AA"] * 50), one_hot(["IY"] * 50, start=0.5)
    with pytest.raises(AudioError, match=r"begins at 0\.5 s .* ends at 1 s"):
        place([one, two], 3.0)
    with pytest.raises(AudioError, match="lies at 0.5 to 1.5 s"):
        place([two], 1.0)
    with pytest.raises(AudioError, match="0 segments"):
        place([], 1.0)


def test_posteriorgrams_are_saved_safely(tmp_path):
    post = Posteriorgram(np.full((4, 41), 1 / 41), 100, 1.5, blank=np.zeros(4))
    path = tmp_path / "song.npz"
    post.save(path)
    back = Posteriorgram.load(path)
    assert (back.frame_rate, back.start, back.phones) == (100, 1.5, PHONES)
    np.testing.assert_array_equal(back.probs, post.probs)
    np.testing.assert_array_equal(back.blank, post.blank)
    with pytest.raises(OutputError, match="exists already"):
        post.save(path)
    bad = tmp_path / "bad.npz"
    np.savez(bad, probs=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ModelError, match="is no posteriorgram"):
        Posteriorgram.load(bad)
    bad.write_text("nothing")
    with pytest.raises(ModelError, match="is no posteriorgram"):
        Posteriorgram.load(bad)


def test_what_is_no_probability_is_refused():
    with pytest.raises(ModelError, match="sums to 2"):
        Posteriorgram(np.full((2, 41), 2 / 41), 50)
    with pytest.raises(ModelError, match=r"\(2, 40\)"):
        Posteriorgram(np.full((2, 40), 1 / 40), 50)


def test_deltas_of_second_order():
    found = deltas(np.array([[0.0], [1.0], [4.0], [9.0]]), 10, order=2)
    assert found.shape == (4, 3)
    assert found[1].tolist() == [1.0, 20.0, 150.0]


# --- acoustic models -------------------------------------------------------


def test_cepstra_see_their_frame():
    wav = torch.zeros(32000)
    wav[16000:] = torch.randn(16000, generator=torch.manual_seed(0)) * 0.1
    level = cepstra(wav)[:, 0, 0]
    assert level.shape == (200,)
    assert level[:98].max() < level[102:].min()


def test_phones_that_last_are_preferred():
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 5, 12), 10)
    scores = rng.normal(0, 1, (120, 5, 3))
    scores[np.arange(120), truth] += 1.5
    alone = np.logaddexp.reduce(scores, axis=2).argmax(axis=1)
    both = smoothed(scores, 0.8)
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-6)
    assert (both.argmax(axis=1) == truth).mean() > (alone == truth).mean()


def test_blank_is_kept_apart():
    said = np.log([[0.9, 0.08, 0.02], [0.1, 0.2, 0.7]])
    probs, blank = folded_ctc(said, np.eye(3, 41, k=-1), 0)
    np.testing.assert_allclose(probs[:, :2], [[0.8, 0.2], [2 / 9, 7 / 9]])
    np.testing.assert_allclose(blank, [0.9, 0.1], rtol=1e-6)


class Sines(torch.nn.Module):
    """An encoder that tells four tones apart."""

    sample_rate, output_size, context_s = 16000, 4, 0.1

    def forward(self, wavs, wav_lens=None):
        rows = wavs[:, : wavs.shape[1] // 320 * 320].unflatten(1, (-1, 320))
        power = torch.fft.rfft(rows).abs()
        return torch.stack([power[..., k] for k in (4, 8, 16, 32)], -1).log1p()


def test_own_model_hears_the_order_of_tones():
    names = ["AA", "IY", "UW", "EH"]
    head = PhoneHead(4)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
        for k, name in enumerate(names):
            head.linear.weight[1 + INDEX[name], k] = 2.0
    time = torch.arange(3200) / 16000
    order = [3, 0, 2, 1]
    wav = torch.cat(
        [torch.sin(2 * torch.pi * 50 * (4, 8, 16, 32)[k] * time) for k in order]
    )
    model = PhoneModel(Sines(), head, chunk_s=0.3)
    post = model.posteriorgram(wav.numpy(), 16000)
    assert (len(post), post.frame_rate, post.blank.shape) == (40, 50, (40,))
    # The middle of each tone, of 0.2 s.
    heard = [PHONES[k] for k in post.probs[5::10].argmax(axis=1)]
    assert heard == [names[k] for k in order]
    said = head(Sines()(wav[None]))
    right, wrong = (
        phone_loss(said, torch.ones(1), *phone_targets([[names[k] for k in o]]))
        for o in (order, order[::-1])
    )
    assert right < 0.5 < 5 < wrong


@pytest.fixture(scope="module")
def token_folder(tmp_path_factory):
    """A tiny wav2vec 2.0 with an output layer of eSpeak's tokens."""
    import json

    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(0)
    tokens = ["<pad>", "<s>", "</s>", "<unk>", *"nsltkdbpmzfv", "iː", "eɪ"]
    config = Wav2Vec2Config(
        vocab_size=len(tokens),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        conv_dim=[4] * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    folder = tmp_path_factory.mktemp("models") / "tokens"
    model = Wav2Vec2ForCTC(config).eval()
    model.save_pretrained(folder)
    table = {token: k for k, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(table))
    return folder, model, tokens


def test_token_model_says_what_the_checkpoint_says(token_folder):
    folder, model, tokens = token_folder
    heard = load_acoustic(folder)
    assert isinstance(heard, TokenModel)
    wav = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    post = heard.posteriorgram(wav, 16000)
    assert (len(post), post.frame_rate) == (50, 50)
    padded = torch.from_numpy(wav)
    padded = (padded - padded.mean()) / torch.sqrt(padded.var(False) + 1e-7)
    with torch.no_grad():
        logits = model(torch.nn.functional.pad(padded, (40, 40))[None]).logits
    said = logits[0].log_softmax(-1).numpy()
    probs, blank = folded_ctc(said, heard.matrix, 0)
    np.testing.assert_allclose(post.probs, probs, atol=1e-4)
    np.testing.assert_allclose(post.blank, blank, atol=1e-4)


def test_faulty_token_folders(token_folder, tmp_path):
    import shutil

    folder, _, tokens = token_folder
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "vocab.json").write_text('{"<pad>": 0, "q": 1, "1": 2}')
    with pytest.raises(ConfigError, match="phones, not of letters"):
        load_acoustic(copy)
    (copy / "vocab.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_acoustic(copy)
    with pytest.raises(ModelError, match="no such model folder"):
        load_acoustic(tmp_path / "none")


# --- pronunciations --------------------------------------------------------


@pytest.fixture
def dictionary(monkeypatch):
    words = {
        "sing": [("S", "IH", "NG")],
        "singing": [("S", "IH", "NG", "IH", "NG")],
        "the": [("DH", "AH"), ("DH", "IY")],
        "moon": [("M", "UW", "N")],
        "cat": [("K", "AE", "T")],
    }
    monkeypatch.setattr(lexicon_module, "_dictionary", lambda: words)


def test_words_are_looked_up(dictionary):
    lexicon = Lexicon(own={"the": "DH AX"})
    assert lexicon.pronounce("THE,") == [("DH", "AH")]
    assert Lexicon().pronounce("the") == [("DH", "AH"), ("DH", "IY")]
    assert Lexicon().pronounce("singin’") == [("S", "IH", "NG", "IH", "N")]
    assert Lexicon().pronounce("cat's") == [("K", "AE", "T", "S")]
    assert Lexicon().pronounce("moon-cat") == [("M", "UW", "N", "K", "AE", "T")]
    assert Lexicon().pronounce("&") == []
    assert spoken_form("(Oh!)") == "oh"


def test_pronunciation_without_phones_is_refused():
    with pytest.raises(LyricsError, match="'oh' has no phone"):
        Lexicon(own={"oh": "?"})


def test_missing_letters_to_sound_is_told(dictionary, monkeypatch):
    pytest.importorskip("g2p2")
    with pytest.raises(DependencyError, match=r"g2p2\[xy\]"):
        Lexicon("xy").pronounce("singen")


def test_new_words_are_spelt_out(dictionary):
    pytest.importorskip("g2p2_group_germanic")
    (way,) = Lexicon().pronounce("thunderlight")
    assert way[0] == "TH"
    assert way[-1] == "T"
    assert "L" in way
    assert Lexicon().pronounce("12")  # twelve


@pytest.mark.parametrize("word", ["愛してる", "مرحبا", "สวัสดี"])
def test_letters_of_another_language_are_refused(word):
    pytest.importorskip("g2p2_group_germanic")
    told = r"letters, leave it out, or .*g2p2\[CODE\]"
    with pytest.raises(LyricsError, match=told):
        Lexicon().pronounce(word)


# --- phones with their times -------------------------------------------------


def test_phones_fill_the_frames_they_are_sung_in():
    phones = [("AA", 0.05, 0.2), ("TS", 0.2, 0.4), ("??", 0.4, 0.5)]
    song = Posteriorgram.from_phones(phones, 0.0, 0.6, 10)
    expected = {
        "SIL": [0.5, 0, 0, 0, 0, 1],
        "AA": [0.5, 1, 0, 0, 0, 0],
        "T": [0, 0, 1, 0, 0, 0],
        "S": [0, 0, 0, 1, 0, 0],
        "SPN": [0, 0, 0, 0, 1, 0],
    }
    for phone, shares in expected.items():
        found = song.probs[:, INDEX[phone]]
        np.testing.assert_allclose(found, shares, atol=1e-6)
    part = Posteriorgram.from_phones(phones, 0.3, 0.5, 10)
    np.testing.assert_allclose(part.probs, song.probs[3:5], atol=1e-6)
    assert part.start == 0.3


def test_phones_that_overlap_share_a_frame():
    song = Posteriorgram.from_phones([("AA", 0, 1), ("IY", 0.5, 1)], 0, 1, 2)
    np.testing.assert_allclose(song.probs[1, [INDEX["AA"], INDEX["IY"]]], 0.5)


def test_phones_come_back_from_files(tmp_path):
    phones = [TimedPhone("AA", 0.5, 1.0), TimedPhone("S", 1.25, 2.0)]
    path = write_phones(phones, tmp_path / "song.csv")
    assert read_phones(path) == phones
    assert read_sung(path).end == 2.0
    word = TimedWord("as", 0.5, 2.0, phones=tuple(phones))
    for name in ("song.TextGrid", "song.json"):
        write_timed([word], tmp_path / name)
        found = read_phones(tmp_path / name)
        assert [phone[:3] for phone in found] == [p[:3] for p in phones]
    write_timed([TimedWord("as", 0.5, 2.0)], tmp_path / "words.json")
    with pytest.raises(LyricsError, match="words but no phones"):
        read_phones(tmp_path / "words.json")
    with pytest.raises(OutputError, match="exists already"):
        write_phones(phones, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word,onset_s,offset_s\n", "expected the columns phone"),
        ("phone,onset_s,offset_s\nAA,0,x\n", "row 2: expected a phone"),
        ("phone,onset_s,offset_s\nAA,0\n", "row 2: expected a phone"),
        ("phone,onset_s,offset_s\nAA,1,0.5\n", "from 1 to 0.5 s"),
        ("phone,onset_s,offset_s\nAA,0,2\nS,1,3\n", "row 3: .* after 2 s"),
        ("phone,onset_s,offset_s\nAA,nan,2\n", "goes from nan"),
    ],
)
def test_faulty_phones_are_refused(tmp_path, text, message):
    path = tmp_path / "phones.csv"
    path.write_text(text)
    with pytest.raises(LyricsError, match=message):
        read_phones(path)
