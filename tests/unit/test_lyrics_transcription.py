"""Characters, head, search, error rates and Brains of lyrics transcription."""

import numpy as np
import pytest
import torch
from speechbrain.lobes.models.RNNLM import RNNLM

from speechbrain_ext.audio import write_audio
from speechbrain_ext.brains.lyrics_transcription import (
    lyrics_dataset,
    run_lyrics_transcription,
    score_lines,
)
from speechbrain_ext.encoders.spectral import MelEncoder
from speechbrain_ext.errors import (
    ConfigError,
    LyricsError,
    ManifestError,
    ModelError,
    NoteError,
)
from speechbrain_ext.inference.lyrics import LyricsTranscriber, line_spans
from speechbrain_ext.lyrics.error_rates import (
    LyricsStats,
    error_table,
    score_line,
)
from speechbrain_ext.lyrics.transcription import (
    BLANK,
    N_TOKENS,
    CharacterHead,
    LyricsModel,
    Search,
    frame_lengths,
    text_of,
    token_encoder,
    tokens_of,
)
from speechbrain_ext.lyrics.words import CHARACTERS
from speechbrain_ext.recipe import load

SMALL = {
    "dnn_layers": 1,
    "dnn_size": 16,
    "embedding_size": 4,
    "decoder_size": 12,
    "attention_size": 8,
    "channels": 2,
    "kernel_size": 5,
}


def small_encoder():
    return MelEncoder(8, 20, (2, 2, 2), (1, 2))


# --- characters --------------------------------------------------------------


def test_every_character_comes_back():
    text = "".join(CHARACTERS[1:]) + " don't"
    assert text_of(tokens_of(text)) == text
    assert sorted(tokens_of(CHARACTERS).tolist()) == list(range(3, 31))
    assert len(token_encoder()) == N_TOKENS == 31
    assert text_of([0, 3, 5, 3, 3, 6, 3, 2]) == "a b"
    assert text_of([]) == ""


def test_lengths_are_whole_frames():
    # 3 items of 1000, 659 and 320 samples: 3, 2 and 1 frames.
    lengths = torch.tensor([1.0, 0.659, 0.32])
    assert (frame_lengths(lengths, 1000) * 3).tolist() == [3.0, 2.0, 1.0]


# --- error rates -------------------------------------------------------------


def test_errors_by_hand():
    #  oh my  love is    gone
    #  oh  -  dove is so gone     1 deletion, 1 substitution, 1 insertion
    found = score_line("oh my love is gone", "oh dove is so gone")
    assert found["WER"] == {
        "substitutions": 1,
        "deletions": 1,
        "insertions": 1,
        "count": 5,
    }
    # "oh" against "oh no": a space, n and o.
    assert score_line("oh", "oh no")["CER"] == {
        "substitutions": 0,
        "deletions": 0,
        "insertions": 3,
        "count": 2,
    }
    assert score_line("a b", "")["WER"]["deletions"] == 2
    assert score_line("a  b", " a b ")["CER"]["count"] == 3
    with pytest.raises(LyricsError, match="0 words"):
        score_line(" ", "a")


def test_rates_are_of_all_words():
    stats = LyricsStats(resamples=500)
    stats.append("1", "a b c d e f", "a b c d e f", group="x")
    stats.append("2", "a b", "c", group="y")
    summary = stats.summarize()
    assert (summary["lines"], summary["words"]) == (2, 8)
    assert summary["WER"] == pytest.approx(2 / 8)
    # 3 errors ("a b" to "c") among 11 + 3 characters.
    assert summary["CER"] == pytest.approx(3 / 14)
    # A draw has the first line twice, the second twice, or both.
    assert summary["WER_low"] == 0.0
    assert summary["WER_high"] == 1.0
    assert stats.groups()["y"].rates()["WER"] == 1.0
    alone = LyricsStats()
    with pytest.raises(NoteError, match="no line was scored"):
        alone.rates()
    alone.append("1", "a", "b c")
    assert alone.summarize()["WER"] == 2.0
    assert np.isnan(alone.summarize()["WER_low"])
    with pytest.raises(NoteError, match="scored already"):
        alone.append("1", "a", "a")


def test_interval_is_that_of_resampled_lines():
    rng = np.random.default_rng(0)
    stats = LyricsStats(resamples=4000)
    errors, words = [], []
    for k in range(40):
        count = int(rng.integers(1, 12))
        wrong = int(rng.integers(0, count + 1))
        said = ["x"] * wrong + ["a"] * (count - wrong)
        stats.append(str(k), " ".join(["a"] * count), " ".join(said))
        errors.append(wrong)
        words.append(count)
    drawn = rng.integers(40, size=(4000, 40))
    rates = np.array(errors)[drawn].sum(1) / np.array(words)[drawn].sum(1)
    summary = stats.summarize()
    expected = np.quantile(rates, [0.025, 0.975])
    np.testing.assert_allclose(
        [summary["WER_low"], summary["WER_high"]], expected, atol=0.01
    )


def test_scores_are_written(tmp_path):
    stats = LyricsStats()
    stats.append("b", "oh my, love".replace(",", ""), "oh love")
    stats.append("a", "la", "la")
    lines = stats.write_csv(tmp_path / "s.csv").read_text().splitlines()
    assert lines[0].split(",") == [
        *("song_id", "WER", "CER", "words", "characters"),
        *("WER substitutions", "WER deletions", "WER insertions"),
        *("CER substitutions", "CER deletions", "CER insertions"),
        *("sung", "heard"),
    ]
    assert lines[1] == "a,0.000000,0.000000,1,2,0,0,0,0,0,0,la,la"
    assert lines[2] == "b,0.333333,0.300000,3,10,0,1,0,0,3,0,oh my love,oh love"
    table = error_table({"test": stats}).splitlines()
    assert table[1].split()[:4] == ["test", "2", "4", "25.0"]
    assert "WER, %" in stats.table()


# --- head and search ---------------------------------------------------------


def test_shapes_and_probabilities():
    torch.manual_seed(0)
    head = CharacterHead(8, **SMALL).eval()
    prefixes = torch.randint(3, 31, (2, 6))
    heard, said = head(torch.randn(2, 40, 8), torch.ones(2), prefixes)
    assert heard.shape == (2, 40, 31)
    assert said.shape == (2, 6, 31)
    for scores in (heard, said):
        np.testing.assert_allclose(scores.exp().sum(-1).detach(), 1, rtol=1e-5)
    assert head(torch.randn(2, 40, 8), torch.ones(2))[1] is None


def test_padding_changes_nothing():
    torch.manual_seed(0)
    encoder, head = small_encoder().eval(), CharacterHead(8, **SMALL).eval()
    wavs = 0.1 * torch.randn(2, 16000)
    wavs[0, 9600:] = 0
    prefixes = torch.randint(3, 31, (2, 7))
    with torch.no_grad():
        lengths = torch.tensor([0.6, 1.0])
        heard, said = head(
            encoder(wavs, lengths), frame_lengths(lengths, 16000), prefixes
        )
        alone = head(encoder(wavs[:1, :9600]), torch.ones(1), prefixes[:1, :4])
    assert torch.allclose(heard[0, :30], alone[0][0], atol=1e-5)
    assert torch.allclose(said[0, :4], alone[1][0], atol=1e-5)


class Spoken(torch.nn.Module):
    """An encoder whose features are what it was made with."""

    def __init__(self, tokens, sure=8.0):
        super().__init__()
        self.feats = torch.zeros(1, len(tokens), N_TOKENS)
        for frame, token in enumerate(tokens):
            self.feats[0, frame, token] = sure

    def forward(self, wavs, wav_lens=None):
        return self.feats


def clear_head():
    """A head whose CTC says what its features do, with an even decoder."""
    torch.manual_seed(0)
    head = CharacterHead(N_TOKENS, **SMALL | {"dnn_size": N_TOKENS})
    head.dnn = torch.nn.Identity()
    head.ctc = torch.nn.Identity()
    with torch.no_grad():
        for weight in head.out.parameters():
            weight.zero_()
    return head.eval()


def test_the_search_finds_what_ctc_hears():
    a, b, _ = tokens_of("ab ").tolist()
    spoken = Spoken([a, a, BLANK, a, b, BLANK, BLANK, b, b, BLANK])
    settings = Search(4, ctc_weight=0.9, lm_weight=0.0, longest=1)
    model = LyricsModel(spoken, clear_head(), search=settings)
    assert model.greedy(np.zeros(3200)) == "aabb"
    assert model.search(np.zeros(3200)) == "aabb"


class Favourite(torch.nn.Module):
    """A language model that always expects one token."""

    def __init__(self, token):
        super().__init__()
        self.logits = torch.zeros(N_TOKENS)
        self.logits[token] = 1.0

    def forward(self, tokens, hx=None):
        count = len(tokens)
        return self.logits.expand(count, -1), torch.zeros(1, count, 1)


def test_the_language_model_settles_what_ctc_leaves_open():
    a, b, c = tokens_of("abc").tolist()
    spoken = Spoken([a, BLANK, b, BLANK, a, BLANK])
    spoken.feats[0, 2, c] = 7.9  # b or c, nearly alike
    settings = Search(6, ctc_weight=0.9, lm_weight=0.5, coverage=0, longest=1)
    wav = np.zeros(3200)
    for token, expected in ((b, "aba"), (c, "aca")):
        model = LyricsModel(spoken, clear_head(), Favourite(token), settings)
        assert model.search(wav) == expected
    plain = LyricsModel(spoken, clear_head(), None, settings)
    assert plain.search(wav) == "aba" == plain.greedy(wav)


def test_a_batch_is_searched_like_its_first_item():
    torch.manual_seed(1)
    head = CharacterHead(8, **SMALL).eval()
    searcher = Search(beam_size=3, lm_weight=0.0).searcher(head)
    feats = torch.randn(2, 12, 8)
    with torch.no_grad():
        both, *_ = searcher(head.dnn(feats), torch.ones(2))
        alone, *_ = searcher(head.dnn(feats[:1]), torch.ones(1))
    assert both[0] == alone[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"ctc_weight": 1.0}, "ctc_weight is 1.0: give 0 to below 1"),
        ({"ctc_weight": -0.1}, "ctc_weight is -0.1"),
        ({"beam_size": 0}, "beam_size is 0: give 1 or more"),
        ({"lm_weight": -1.0}, "lm_weight is -1.0: give 0 or more"),
        ({"coverage": -1.0}, "coverage is -1.0"),
        ({"longest": 0.0}, "longest is 0.0: give more than 0"),
    ],
)
def test_settings_of_the_search_are_checked(setting, message):
    with pytest.raises(ConfigError, match=message):
        Search(**setting)


# --- data and Brains ---------------------------------------------------------

TEXTS = ("la la", "oh", "my love", "don't go", "la", "oh my")
SETTINGS = """
base: {base}
data_folder: unused
segment_s: null
encoder_size: 8
encoder: !new:speechbrain_ext.encoders.spectral.MelEncoder
  channels: 8
  n_mels: 20
  front_channels: [2, 2, 2]
  dilations: [1]
head:
  dnn_layers: 1
  dnn_size: 16
  embedding_size: 4
  decoder_size: 12
  attention_size: 8
  channels: 2
  kernel_size: 5
search: {{beam_size: 2}}
train_loader: {{batch_size: 2, num_workers: 0}}
test_loader: {{batch_size: 2, num_workers: 0}}
number_of_epochs: 2
language_epochs: 1
language_model: {{embedding_dim: 4, rnn_layers: 1, rnn_neurons: 8,
  dnn_neurons: 8}}
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Six lines of noise, from 0.5 s on."""
    folder = tmp_path_factory.mktemp("lines")
    rng = np.random.default_rng(0)
    found = []
    for k, said in enumerate(TEXTS):
        seconds = 0.8 - 0.06 * k
        for name in ("voice", "band"):
            wav = 0.1 * rng.standard_normal(round(seconds * 16000))
            write_audio(folder / f"{name}{k}.wav", np.float32(wav), 16000)
        found.append(
            {
                "ID": f"l{k}_1",
                "song_id": f"l{k}",
                "start": 0.0,
                "stop": seconds,
                "duration": seconds,
                "text": said,
                "wav": str(folder / f"voice{k}.wav"),
                "accomp_wav": str(folder / f"band{k}.wav"),
            }
        )
    return found


@pytest.fixture
def make(tmp_path):
    """Hyper-parameters of a small run, as `recipe.run` builds them."""
    from pathlib import Path

    from hyperpyyaml import resolve_references

    from speechbrain_ext.recipe import compose

    root = Path(__file__).parents[2]
    base = root / "recipes/DSing/lyrics_transcription/params.yaml"

    def build(name="run", changes=""):
        path = tmp_path / f"{name}.yaml"
        path.write_text(SETTINGS.format(base=base))
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        overrides = f"output_folder: {folder}\n{changes}"
        resolved = resolve_references(compose(path, overrides)).getvalue()
        (folder / "hyperparams.yaml").write_text(resolved)
        return load(path, overrides)

    return build


def train(hparams, rows, **options):
    run_opts = {"device": "cpu", "noprogressbar": True, **options}
    tests = {"lines": rows[4:]}
    return run_lyrics_transcription(
        hparams, run_opts, rows[:4], rows[4:], tests
    )


def test_lines_come_from_short_to_long(rows):
    data = lyrics_dataset(rows)
    items = [data[k] for k in range(len(data))]
    assert [item["id"] for item in items] == [
        f"l{k}_1" for k in (5, 4, 3, 2, 1, 0)
    ]
    assert [len(item["sig"]) for item in items[:2]] == [8000, 8960]
    last = items[-1]
    assert text_of(last["tokens"]) == "la la"
    assert last["prefix"].tolist() == [1, *last["tokens"].tolist()]
    assert last["suffix"].tolist() == [*last["tokens"].tolist(), 2]


def test_data_are_checked(rows):
    with pytest.raises(ManifestError, match="0 lines"):
        lyrics_dataset([])
    with pytest.raises(ManifestError, match="l0_1 has no text"):
        lyrics_dataset([{**rows[0], "text": ""}])
    with pytest.raises(ManifestError, match="two manifests have"):
        lyrics_dataset(rows[:1] * 2)


def test_a_run_leaves_scores_and_a_model(make, rows, tmp_path):
    results = train(make(changes="test_mix_db: [5]\n"), rows)
    assert {*results} == {"lines", "lines_accompaniment+5dB"}
    output = tmp_path / "run"
    for file in (
        "results/summary.txt",
        "results/lines/scores.csv",
        "results/lines/greedy.csv",
        "results/lines_accompaniment+5dB/scores.csv",
        "training.png",
        "model/model.safetensors",
        "language_log.txt",
    ):
        assert (output / file).is_file(), file
    model = LyricsModel.load(output / "model")
    assert model.settings == Search(beam_size=2)
    assert model.language_model is not None
    again = score_lines(model, rows[4:])["scores"]
    assert [s.estimate for s in again.songs] == [
        s.estimate for s in results["lines"].songs
    ]
    assert LyricsModel.load(output / "model", beam_size=3).settings == (
        Search(beam_size=3)
    )
    # The trained model is what another training starts from.
    hparams = make("next", f"start_from: {output / 'model'}\n")
    hparams["epoch_counter"].limit = 0
    hparams["language_epoch_counter"].limit = 0
    with pytest.raises(ModelError, match="holds no checkpoint"):
        train(hparams, rows)
    for key in ("encoder", "head", "language_model"):
        expected = getattr(model, key).state_dict()
        for name, value in hparams[key].state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_without_a_language_model(make, rows, tmp_path):
    train(make("plain", "search: {lm_weight: 0.0}\n"), rows)
    assert not (tmp_path / "plain" / "language_log.txt").exists()
    model = LyricsModel.load(tmp_path / "plain" / "model")
    assert model.language_model is None


def test_resumed_training_ends_in_the_same_weights(make, rows):
    whole = make("whole", "search: {lm_weight: 0.0}\n")
    train(whole, rows)
    parts = make("parts", "search: {lm_weight: 0.0}\n")
    parts["epoch_counter"].limit = 1
    train(parts, rows)
    parts = make("parts", "search: {lm_weight: 0.0}\n")
    train(parts, rows)
    for key in ("encoder", "head"):
        expected = whole[key].state_dict()
        for name, value in parts[key].state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_a_language_model_learns_its_lines(make, rows):
    from speechbrain_ext.brains.lyrics_transcription import (
        train_language_model,
    )

    hparams = make(
        "lm", "language_epochs: 30\nlanguage_optimizer: {lr: 0.05}\n"
    )
    model = train_language_model(
        hparams, {"device": "cpu", "noprogressbar": True}, ["la la la"] * 8,
        ["la la"],
    ).eval()  # fmt: skip
    assert isinstance(model, RNNLM)
    with torch.no_grad():
        logits, _ = model(torch.tensor([[1, *tokens_of("la la").tolist()]]))
    expected = tokens_of("la la ").tolist()
    assert logits[0].argmax(-1).tolist() == expected


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ("ctc_weight: 1.0\n", ConfigError, "ctc_weight is 1.0"),
        ("encoder_size: 9\n", ConfigError, "gives 8 channels but the head"),
        ("max_train_s: 0.1\n", ManifestError, "all 4 training lines are"),
        (
            "encoder_from: phone_recognizer\n",
            ConfigError,
            "has another encoder",
        ),
        ("language_texts: [gone.txt]\n", LyricsError, "gone.txt: no such"),
    ],
)
def test_settings_are_checked(make, rows, changes, error, message):
    with pytest.raises(error, match=message):
        train(make(changes=changes), rows)


# --- recordings -------------------------------------------------------------


def test_recordings_are_cut_at_pauses():
    power = np.zeros(1000)
    power[100:300] = power[340:500] = power[700:900] = 1.0
    # With 0.15 s around them; the first pause is short, the second is not.
    assert line_spans(power, 600) == [(85, 515), (685, 915)]
    assert line_spans(power, 400) == [(85, 315), (325, 515), (685, 915)]
    assert line_spans(np.zeros(50), 400) == []
    for longest in (100, 150):
        found = line_spans(power, longest)
        assert max(last - first for first, last in found) <= longest
        covered = np.zeros(1000, bool)
        for first, last in found:
            assert not covered[first:last].any()
            covered[first:last] = True
        assert covered[power > 0].all()


def test_a_file_becomes_lines(make, rows, tmp_path, capsys):
    from speechbrain_ext.cli import main

    train(make("cli", "search: {lm_weight: 0.0}\nnumber_of_epochs: 1\n"), rows)
    folder, wav = tmp_path / "cli" / "model", rows[0]["wav"]
    lines = LyricsTranscriber.from_hparams(folder).transcribe_file(wav)
    target = tmp_path / "words.txt"
    command = ["lyrics", wav, "--model", str(folder), "-o", str(target)]
    capsys.readouterr()
    assert main(command) == 0
    assert target.read_text().splitlines() == [line.text for line in lines]
    assert f"words in {len(lines)} lines -> {target}" in capsys.readouterr().out
    for arguments, message in (
        (command, "words.txt"),
        ([*command[:-1], "words.lrc"], "must end in .txt"),
        ([*command, "--force", "--beam-size", "0"], "beam_size is 0"),
        ([*command[:2], "--model", "gone"], "gone: no such model folder"),
    ):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line
    with pytest.raises(ConfigError, match="longest_s is 0.5 s: take 1"):
        LyricsTranscriber(None, 0.5)


def test_other_models_are_refused(tiny_model):
    with pytest.raises(ModelError, match="has no search"):
        LyricsModel.load(tiny_model)
