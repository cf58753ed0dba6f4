"""The Brain: probing, resuming, evaluation in any order, mixed precision."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hyperpyyaml import resolve_references

from data_prep.minisinging import render_clip
from speechbrain_ext import recipe
from speechbrain_ext.audio import write_audio
from speechbrain_ext.brains.transcription import (
    SongCollector,
    TranscriptionBrain,
    run_transcription,
    summary_table,
    tune_decoder,
    tune_voicing,
)
from speechbrain_ext.datasets import transcription_dataset
from speechbrain_ext.errors import ConfigError, ManifestError, ModelError
from speechbrain_ext.formats import read_notes, write_notes
from speechbrain_ext.frames import FramePosteriors, NoteDecoder, label
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.metrics.notes import NoteStats
from speechbrain_ext.notes import NoteSequence

RECIPE = Path(__file__).parents[2] / "recipes/MIR_ST500/audio_transcription"

SPECTRAL = """
encoder: !new:speechbrain_ext.encoders.spectral.HarmonicEncoder
  channels: 16
  front_channels: [2, 2, 2]
  harmonics: [1, 2]
  low: 48
  n_pitches: 24
  dilations: [1, 2]
encoder_size: 136
probe_epochs: 0
"""
# Dropout on, so that any encoder in training mode would show.
SSL = """
encoder: !new:speechbrain_ext.encoders.ssl.SSLEncoder
  config:
    model_type: wav2vec2
    hidden_size: 16
    num_hidden_layers: 1
    num_attention_heads: 2
    intermediate_size: 16
    conv_dim: [8, 8, 8, 8, 8, 8, 8]
    num_conv_pos_embeddings: 4
    num_conv_pos_embedding_groups: 2
    hidden_dropout: 0.2
encoder_size: 16
probe_epochs: 2
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Manifest rows of three songs of 5, 4.4 and 6 s in 2 s segments."""
    folder = tmp_path_factory.mktemp("songs")
    rows = []
    for song, seconds in enumerate((5.0, 4.4, 6.0)):
        clip = render_clip([1, song], seconds, band=False)
        write_audio(folder / f"{song}.wav", clip.voice, 16000)
        write_notes(clip.notes, folder / f"{song}.csv")
        cuts = np.append(np.arange(0, seconds - 1, 2.0), seconds)
        for k, (start, stop) in enumerate(
            zip(cuts, cuts[1:], strict=False), start=1
        ):
            rows.append(
                {
                    "ID": f"{song}_{k}",
                    "song_id": str(song),
                    "segment": k,
                    "n_segments": len(cuts) - 1,
                    "start": float(start),
                    "stop": float(stop),
                    "wav": str(folder / f"{song}.wav"),
                    "notes": str(folder / f"{song}.csv"),
                }
            )
    return rows


def settings(folder, encoder=SPECTRAL, base="params.yaml", extra=""):
    """Hyper-parameters of the recipe with a tiny encoder."""
    variant = folder / "tiny.yaml"
    variant.write_text(
        f"base: {RECIPE / base}\ndata_folder: none\n"
        f"output_folder: {folder}\nnumber_of_epochs: 3\n"
        "train_loader: {batch_size: 2, num_workers: 0}\n"
        "test_loader: {batch_size: 3, num_workers: 0}\n"
        f"{encoder}{extra}"
    )
    torch.manual_seed(0)
    # As SpeechBrain leaves it in the output folder.
    resolved = resolve_references(recipe.compose(variant)).getvalue()
    (folder / "hyperparams.yaml").write_text(resolved)
    return recipe.load(variant)


def train(hparams, rows, brain_class=TranscriptionBrain, **options):
    """Train on the rows, validate on the first song."""
    brain = brain_class(
        modules=hparams["modules"],
        hparams=hparams,
        run_opts={"device": "cpu", "noprogressbar": True, **options},
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        hparams["epoch_counter"],
        transcription_dataset(
            rows,
            epoch_counter=hparams["epoch_counter"],
            augment=hparams["augment"],
        ),
        transcription_dataset(rows[:2]),
        train_loader_kwargs=dict(hparams["train_loader"]),
        valid_loader_kwargs=dict(hparams["test_loader"]),
    )
    return brain


def weights(hparams):
    return {
        key: value.clone()
        for name in ("encoder", "head")
        for key, value in hparams[name].state_dict(prefix=name).items()
    }


def equal(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("base", ["params.yaml", "params_published.yaml"])
def test_probing_leaves_the_encoder_bit_identical(tmp_path, rows, base):
    states = []

    class Watching(TranscriptionBrain):
        def on_stage_end(self, stage, stage_loss, epoch=None):
            super().on_stage_end(stage, stage_loss, epoch)
            states.append(weights(self.hparams.modules))
            gradients = [p.grad for p in self.modules.encoder.parameters()]
            assert all(g is None for g in gradients)

    hparams = settings(tmp_path, SSL, base)
    before = weights(hparams)
    train(hparams, rows, Watching)
    encoder = [key for key in before if key.startswith("encoder")]
    learns = [
        key
        for key in encoder
        if "masked_spec" not in key and before[key].is_floating_point()
    ]
    # Two epochs of probing (training and validation each), one of fine-tuning.
    for state in states[:4]:
        assert equal({k: before[k] for k in encoder}, state)
        assert not torch.equal(
            before["headlinear.weight"], state["headlinear.weight"]
        )
    assert any(not torch.equal(before[k], states[4][k]) for k in learns)


class Killed(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("interval", [0, 1])
@pytest.mark.parametrize("kill_at", [1, 4])
def test_resumed_equals_uninterrupted(tmp_path, rows, kill_at, interval):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    expected = settings(whole)
    train(expected, rows)

    class Dying(TranscriptionBrain):
        count = 0

        def on_fit_batch_start(self, batch, should_step):
            super().on_fit_batch_start(batch, should_step)
            Dying.count += 1
            if Dying.count == kill_at + 1:
                raise Killed

    with pytest.raises(Killed):
        train(settings(parts), rows, Dying, ckpt_interval_steps=interval)
    resumed = settings(parts)
    train(resumed, rows, ckpt_interval_steps=interval)
    assert equal(weights(expected), weights(resumed))


def test_resumed_with_workers_and_annealing(tmp_path, rows):
    """Also what anneals the rates goes on where it stopped."""

    class Dying(TranscriptionBrain):
        def on_fit_batch_start(self, batch, should_step):
            super().on_fit_batch_start(batch, should_step)
            if self.hparams.epoch_counter.current == 3 and self.step == 2:
                raise Killed

    def start(name, brain_class=TranscriptionBrain):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        hparams = settings(
            folder,
            base="params_published.yaml",
            extra="head_annealing: {improvement_threshold: 1.0}\n",
        )
        hparams["train_loader"]["num_workers"] = 1
        brain = train(hparams, rows, brain_class, ckpt_interval_steps=1)
        rates = [
            optimizer.param_groups[0]["lr"]
            for optimizer in brain.optimizers_dict.values()
        ]
        return weights(hparams), rates

    expected, expected_rates = start("whole")
    with pytest.raises(Killed):
        start("parts", Dying)
    found, rates = start("parts")
    assert equal(expected, found)
    assert rates == expected_rates
    assert rates[0] < 0.0003 * 0.9


DAMAGED = ["encoder.ckpt", "decoder.ckpt", "CKPT.yaml"]


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_checkpoints_are_named(tmp_path, rows, damage):
    train(settings(tmp_path), rows)
    for file in tmp_path.glob(f"save/*/{damage}"):
        file.write_text("{")
    with pytest.raises(ModelError, match="is damaged or .* another model"):
        train(settings(tmp_path), rows)


def test_nothing_is_tested_or_exported_before_a_training(tmp_path, rows):
    with pytest.raises(ModelError, match="holds no checkpoint"):
        run_transcription(
            settings(tmp_path),
            {"device": "cpu", "test_only": True},
            rows,
            rows,
            {"set": rows},
        )
    assert not (tmp_path / "model").exists()


def test_debugging_does_not_replace_results(tmp_path, rows):
    run_transcription(
        settings(tmp_path),
        {"device": "cpu", "debug": True, "noprogressbar": True},
        rows,
        rows,
        {"set": rows},
    )
    assert (tmp_path / "debug/results/summary.txt").is_file()
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "extra, says",
    [
        ("loss_weights: {onste: 2}\n", "names onste: use onset, silence"),
        ("head_optimizer: {lr: fast}\n", "^head_optimizer: "),
        ("encoder_optimizer: {lr: -1}\n", "^encoder_optimizer: .*-1"),
        ("head: {input_size: 9}\n", "gives 136 channels but .* takes 9"),
    ],
)
def test_mistakes_in_settings(tmp_path, rows, extra, says):
    with pytest.raises(ConfigError, match=says):
        run_transcription(
            settings(tmp_path, extra=extra),
            {"device": "cpu", "noprogressbar": True},
            rows,
            rows,
            {},
        )


def test_bad_loader_options(tmp_path, rows):
    hparams = settings(tmp_path)
    hparams["train_loader"]["batch_size"] = "many"
    with pytest.raises(ConfigError, match="^train loader: batch_size"):
        train(hparams, rows)


def test_training_reaches_lower_losses(tmp_path, rows):
    hparams = settings(tmp_path, extra="augment: null\n")
    losses = []

    class Watching(TranscriptionBrain):
        def on_stage_end(self, stage, stage_loss, epoch=None):
            losses.append(stage_loss)
            super().on_stage_end(stage, stage_loss, epoch)

    train(hparams, rows, Watching)
    assert losses[4] < losses[0]


def test_evaluation_does_not_depend_on_batches_or_order(tmp_path, rows):
    hparams = settings(tmp_path, extra="decoder: {onset_threshold: 0.05}\n")
    brain = train(hparams, rows)
    context = hparams["encoder"].context_s
    results = []
    for batch_size, order in ((1, 1), (2, -1), (8, 1)):
        results.append(
            brain.test(
                "set",
                transcription_dataset(rows[::order], context_s=context),
                tmp_path / f"results{batch_size}",
                {"batch_size": batch_size},
                plot_songs=0,
            )[0].values()
        )
        notes = sorted((tmp_path / f"results{batch_size}/set/notes").iterdir())
        assert [n.name for n in notes] == [
            f"{k}.{s}" for k in range(3) for s in ("csv", "mid")
        ]
    assert np.allclose(results[0], results[1], atol=1e-9)
    assert np.allclose(results[0], results[2], atol=1e-9)


def test_stitched_segments_equal_one_pass_and_the_transcriber(tmp_path, rows):
    hparams = settings(tmp_path)
    results = run_transcription(
        hparams, {"device": "cpu"}, rows, rows, {"set": rows}
    )
    assert (tmp_path / "results/summary.txt").read_text().startswith("F1, %")
    assert (tmp_path / "results/set/0.png").stat().st_size > 10_000
    assert len(results["set"]) == 3
    transcriber = Transcriber.from_hparams(tmp_path / "model")
    for song in range(3):
        wav = Path(rows[0]["wav"]).with_name(f"{song}.wav")
        found = transcriber.transcribe_file(wav)
        written = read_notes(tmp_path / f"results/set/notes/{song}.csv")
        assert len(found) == len(written) > 0
        assert np.allclose(found.intervals, written.intervals, atol=1e-5)
        assert np.array_equal(found.midi, written.midi)


def test_training_starts_from_a_model(tmp_path, rows):
    for name in "abc":
        (tmp_path / name).mkdir()
    tests = {"set": rows}
    first = settings(tmp_path / "a")
    run_transcription(first, {"device": "cpu"}, rows, rows, tests)
    still = f"start_from: {tmp_path}/a/model\n"
    still += "head_optimizer: {lr: 0.0}\nencoder_optimizer: {lr: 0.0}\n"
    second = settings(tmp_path / "b", extra=still)
    second["encoder"].norm.weight.data.fill_(3.0)
    assert not equal(weights(first), weights(second))
    run_transcription(second, {"device": "cpu"}, rows, rows, tests)
    assert equal(weights(first), weights(second))
    wider = SPECTRAL.replace("[2, 2, 2]", "[2, 2, 3]")
    third = settings(tmp_path / "c", wider, extra=still)
    with pytest.raises(ModelError, match="does not fit the model"):
        run_transcription(third, {"device": "cpu"}, rows, rows, tests)
    assert not (tmp_path / "c" / "model").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16", "eval_precision": "bf16"},
        {"grad_accumulation_factor": 2},
    ],
)
def test_mixed_precision_and_accumulation(tmp_path, rows, options):
    hparams = settings(tmp_path)
    before = weights(hparams)
    train(hparams, rows, **options)
    after = weights(hparams)
    assert not equal(before, after)
    assert all(v.isfinite().all() for v in after.values())


def test_collector_refuses_incomplete_songs():
    part = FramePosteriors(np.zeros(2), np.ones(2), np.zeros((2, 3)))
    collector = SongCollector()
    collector.append("a", 2, 3, part)
    with pytest.raises(ManifestError, match="1 of 3"):
        list(collector.songs())
    assert list(collector.songs(complete=False)) == []


def test_tuning_finds_the_threshold_that_works():
    notes = NoteSequence([(0.1, 0.5, 60), (0.6, 1.0, 62)])
    targets = label(notes, 60).as_posteriors()
    weak = FramePosteriors(targets.onset * 0.3, targets.silence, targets.pitch)
    decoder = tune_decoder(
        NoteDecoder(onset_threshold=0.5, rescue_s=None),
        [(weak, notes)],
        {"onset_threshold": [0.5, 0.2, 0.1]},
    )
    assert decoder.onset_threshold == 0.2
    assert decoder.rescue_s is None


def test_tuning_finds_the_voicing_threshold():
    # Voiced frames are called 0.7 or more, unvoiced ones 0.6 or less.
    voicing = np.array([0.9, 0.7, 0.6, 0.2])
    said = FramePosteriors(
        np.zeros(4),
        np.zeros(4),
        np.zeros((4, 3)),
        voicing=voicing,
        f0=np.array([60.0, 60.4, 50.0, 50.0]),
    )
    true = np.array([60.0, 60.0, 0.0, np.nan])
    grid = [0.1, 0.5, 0.65, 0.8]
    tuned = tune_voicing(NoteDecoder(rescue_s=None), [(said, true)], grid)
    assert tuned.voicing_threshold == 0.65 and tuned.rescue_s is None
    # A pitch that is wrong does not count as found.
    wrong = [(said, np.array([61.0, 61.0, 0.0, np.nan]))]
    assert tune_voicing(NoteDecoder(), wrong, [0.5, 0.65]) == NoteDecoder(
        voicing_threshold=0.65
    )
    # Without contours there is nothing to tune by.
    plain = FramePosteriors(np.zeros(4), np.zeros(4), np.zeros((4, 3)))
    assert tune_voicing(NoteDecoder(), [(plain, true)], grid) == NoteDecoder()
    silent = [(said, np.zeros(4))]
    assert tune_voicing(NoteDecoder(), silent, grid) == NoteDecoder()


def test_summary_counts_empty_songs_as_zero():
    notes = NoteSequence([(0.1, 0.5, 60)])
    stats = NoteStats()
    stats.append("hit", notes, notes)
    stats.append("nothing found", notes, NoteSequence())
    stats.append("nothing there", NoteSequence(), notes)
    line = summary_table({"set": stats}).splitlines()[1].split()
    assert line[:3] == ["set", "3", "33.3"]


# ---- the recipe's YAML --------------------------------------------------


def test_unknown_keys_are_refused(tmp_path):
    (tmp_path / "base.yaml").write_text("seed: 1\nloader: {batch_size: 2}\n")
    variant = tmp_path / "mini.yaml"
    variant.write_text("base: base.yaml\nsead: 2\n")
    with pytest.raises(ConfigError, match="unknown key 'sead'"):
        recipe.compose(variant)
    variant.write_text("base: base.yaml\nloader: {batchsize: 2}\n")
    with pytest.raises(ConfigError, match="loader.batchsize"):
        recipe.compose(variant)


def test_new_weights_depend_on_the_seed_alone(tmp_path):
    (tmp_path / "tiny.yaml").write_text(
        f"base: {RECIPE / 'params.yaml'}\ndata_folder: none\n"
        f"output_folder: {tmp_path}\n{SPECTRAL}"
    )

    def made(seed):
        torch.seed()
        return weights(recipe.load(tmp_path / "tiny.yaml", f"seed: {seed}"))

    first = made(1)
    assert equal(first, made(1))
    assert not equal(first, made(2))


def test_overrides_reach_references(tmp_path):
    (tmp_path / "base.yaml").write_text("seed: 1\nfolder: !ref run/<seed>\n")
    (tmp_path / "mini.yaml").write_text("base: base.yaml\nseed: 2\n")
    assert recipe.load(tmp_path / "mini.yaml")["folder"] == "run/2"
    loaded = recipe.load(tmp_path / "mini.yaml", "seed: 3")
    assert loaded["folder"] == "run/3"


def test_an_empty_mapping_may_be_filled(tmp_path):
    (tmp_path / "base.yaml").write_text("weights: {}\n")
    (tmp_path / "mini.yaml").write_text("base: base.yaml\n")
    loaded = recipe.load(tmp_path / "mini.yaml", "weights: {onset: 2}")
    assert loaded["weights"] == {"onset": 2}


@pytest.mark.parametrize(
    "text, overrides, says",
    [
        ("a: 1\n", "a: {", "the command line is not YAML: expected the node"),
        ("a: !ref <b>\n", "", "b"),
        ("a: !new:collections.Contour\n", "", "no such class as collections"),
        ("a: !new:fractions.Fraction {top: 1}\n", "", "argument 'top'"),
        ("a: !new:pathlib.Path [1]\n", "", "Path"),
        ("a: !apply:os.listdir [no/where]\n", "", "No such file"),
    ],
)
def test_mistakes_in_yaml(tmp_path, text, overrides, says):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        recipe.load(path, overrides)
    assert "\n" not in str(caught.value)


@pytest.fixture
def tool(tmp_path, monkeypatch, capsys):
    """Run a recipe's main on a YAML; returns its exit code and stderr."""

    def run(main, *arguments, folder="new/out"):
        path = tmp_path / "params.yaml"
        path.write_text(f"output_folder: {tmp_path / folder}\nsave: 1\n")
        monkeypatch.setattr("sys.argv", ["pytest"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            recipe.run(main, [str(path), *arguments])
        return left.value.code, capsys.readouterr().err

    return run


def test_options_are_keys_by_their_whole_names(tmp_path, monkeypatch):
    """`--optimizer` is not short for `--optimizer_step_limit`."""
    path = tmp_path / "params.yaml"
    path.write_text(
        f"output_folder: {tmp_path / 'out'}\noptimizer: {{lr: 1}}\n"
        "device_name: a\nbatch: 1\n"
    )
    monkeypatch.setattr("sys.argv", ["pytest"])
    found = []
    recipe.run(
        lambda hparams, run_opts: found.append((hparams, run_opts)),
        [str(path), "--optimizer", "{lr: 2}", "--batch=3", "--device", "cpu"],
    )
    ((hparams, run_opts),) = found
    assert hparams["optimizer"] == {"lr": 2} and hparams["batch"] == 3
    assert hparams["device_name"] == "a" and run_opts.device == "cpu"
    assert not run_opts.optimizer_step_limit


def test_an_early_error_leaves_nothing(tool, tmp_path):
    def main(hparams, run_opts):
        raise ManifestError("no such\nfolder")

    code, err = tool(main)
    assert (code, err) == (2, "singbrain: error: no such folder\n")
    assert not (tmp_path / "new").exists()
    code, err = tool(main, "--device", "abacus")
    assert code == 2
    assert "device 'abacus'" in err
    assert not (tmp_path / "new").exists()
    code, err = tool(main, folder="params.yaml/out")
    assert code == 2
    assert "cannot be written (Not a directory)" in err


def test_a_late_error_leaves_the_work(tool, tmp_path):
    def main(hparams, run_opts):
        (tmp_path / "new/out/weights").write_text("1")
        raise ManifestError("too late")

    assert tool(main)[0] == 2
    assert (tmp_path / "new/out/weights").is_file()
    assert (tmp_path / "new/out/log.txt").is_file()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_recording_that_vanished_gets_one_line(tool, rows, workers):
    gone = [{**row, "wav": "gone.wav"} for row in rows]

    def main(hparams, run_opts):
        data = transcription_dataset(gone)
        list(torch.utils.data.DataLoader(data, num_workers=workers))

    assert tool(main) == (
        2,
        "singbrain: error: gone.wav: no such file: check the path\n",
    )


def test_base_of_itself_and_placeholders_are_refused(tmp_path):
    path = tmp_path / "mini.yaml"
    path.write_text("base: mini.yaml\n")
    with pytest.raises(ConfigError, match="refers to itself"):
        recipe.compose(path)
    path.write_text("data_folder: !PLACEHOLDER\n")
    with pytest.raises(ConfigError, match="data_folder"):
        recipe.load(path)
