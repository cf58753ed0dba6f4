"""The published two-stage system: features on disk, then fusion and head."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hyperpyyaml import resolve_references
from safetensors.torch import load_file

from speechbrain_ext import recipe
from speechbrain_ext.audio import read_audio
from speechbrain_ext.brains import two_stage
from speechbrain_ext.brains.transcription import run_transcription
from speechbrain_ext.brains.two_stage import (
    Pair,
    TwoStageBrain,
    dump_songs,
    load_encoder,
    plan_pairs,
    run_two_stage,
)
from speechbrain_ext.brains.two_stream import TwoStreamBrain
from speechbrain_ext.datasets import noisy, read_slice
from speechbrain_ext.errors import (
    ConfigError,
    ManifestError,
    ModelError,
    OutputError,
)
from speechbrain_ext.features import (
    MARKER,
    Dumped,
    FeatureStore,
    feature_dataset,
)
from speechbrain_ext.formats import read_notes
from speechbrain_ext.inference.model_folder import fingerprint
from speechbrain_ext.inference.transcriber import Transcriber
from speechbrain_ext.lip_datasets import centred, seen_as
from speechbrain_ext.video import read_crops

RECIPES = Path(__file__).parents[2] / "recipes/N20EMv2"
CPU = {"device": "cpu", "noprogressbar": True}

TINY = """
base: {recipe}/audio_visual_transcription/params_published.yaml
data_folder: none
audio_model: {audio}
video_model: {video}
noise_folder: null
output_folder: {output}
features_type: float32
noise: [null, accompaniment]
noise_db: -10
number_of_epochs: 2
train_loader: {{batch_size: 2, num_workers: 0}}
test_loader: {{batch_size: 3, num_workers: 0}}
encoder:
  audio: !new:speechbrain_ext.features.Dumped
    output_size: 128
    evidence_size: 120
    low: 48
    n_pitches: 24
  lips: {{output_size: 16}}
  fusion: !new:speechbrain_ext.fusion.ResidualCrossAttention
    audio_size: 8
    video_size: 16
    width: 8
    heads: 2
    ffn: 16
head: !new:speechbrain_ext.heads.MelodyHead
  input_size: 128
  low: 48
  n_pitches: 24
decoder: {{method: peaks}}
head_optimizer: {{lr: 0.5}}
encoder_optimizer: {{lr: 0.5}}
head_annealing: {{initial_value: 0.5}}
encoder_annealing: {{initial_value: 0.5}}
plot_songs: 0
export_models: True
"""


@pytest.fixture
def make(tmp_path, melody_model, lip_model):
    """Hyper-parameters of a tiny system, as `recipe.run` would give them."""

    def settings(output=tmp_path / "out", changes=""):
        output.mkdir(exist_ok=True)
        variant = output / "variant.yaml"
        variant.write_text(
            TINY.format(
                recipe=RECIPES,
                audio=melody_model,
                video=lip_model,
                output=output,
            )
        )
        (output / "recipe.yaml").write_text(recipe.compose(variant, changes))
        return recipe.load(output / "recipe.yaml")

    return settings


@pytest.fixture
def splits(lip_rows):
    """A song of two segments for each of training, validation and test."""
    names = ("train", "valid", "test")
    return {k: lip_rows[2 * n : 2 * n + 2] for n, k in enumerate(names)}


def weights_of(folder):
    return load_file(folder / "model" / "model.safetensors")


# ---- stage 1 ---------------------------------------------------------------


def test_a_dump_is_what_the_encoders_give(make, splits, lip_rows):
    hparams = make()
    stores = dump_songs(hparams, CPU, splits)
    assert list(stores) == ["clean", "accompaniment-10dB", "video"]
    audio, _ = load_encoder(hparams["audio_model"], "audio")
    lips, _ = load_encoder(hparams["video_model"], "video")
    loud = noisy(lip_rows, "accompaniment", -10, level="mean_abs")
    for song in range(3):  # all splits
        for name, rows in (("clean", lip_rows), ("accompaniment-10dB", loud)):
            wanted = []
            for row in rows[2 * song : 2 * song + 2]:
                row = {**row, "song_end": 4.0}
                wav = read_slice(row, row["start"], row["stop"])
                with torch.inference_mode():
                    wanted.append(audio(torch.from_numpy(wav)[None])[0].numpy())
            found = stores[name].read(str(song), 0, 999)
            assert found.shape == (200, 128)
            assert np.allclose(found, np.concatenate(wanted), atol=1e-4)
        crops = np.array(centred(read_crops(lip_rows[2 * song]["video"])))
        with torch.inference_mode():
            wanted = [
                lips(torch.from_numpy(part)[None])[0].numpy()
                for part in (crops[:100], crops[100:])
            ]
        found = stores["video"].read(str(song), 0, 999)
        assert np.allclose(found, np.concatenate(wanted), atol=1e-4)


def test_a_dump_goes_on_and_leaves_what_is_there(make, splits, monkeypatch):
    hparams = make(changes="noise: null\n")
    store = dump_songs(hparams, CPU, splits)["clean"]
    wanted = store.read("1", 0, 999)
    kept, lost = store.folder / "0.npy", store.folder / "1.npy"
    mark = np.full((200, 128), 7, np.float32)
    np.save(kept, mark)
    lost.unlink()
    dump_songs(hparams, CPU, splits)
    assert (store.read("0", 0, 999) == mark).all()
    assert (store.read("1", 0, 999) == wanted).all()

    def fail(*arguments):
        raise AssertionError("nothing is missing")

    monkeypatch.setattr(two_stage, "load_encoder", fail)
    dump_songs(hparams, CPU, splits)


def test_ranks_share_the_songs(make, splits, monkeypatch):
    hparams = make(changes="noise: null\nvideo: zeros\n")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, here in ((1, {"1"}), (0, {"0", "1", "2"})):
        monkeypatch.setattr(two_stage, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(two_stage, "ddp_barrier", lambda: None)
        store = dump_songs(hparams, CPU, splits)["clean"]
        assert {path.stem for path in store.folder.glob("*.npy")} == here


def test_features_of_another_model_or_setting_are_refused(
    make, splits, tiny_model
):
    short = "noise: null\nvideo: zeros\n"
    dump_songs(make(changes=short), CPU, splits)
    for change, message in (
        ("segment_s: 4.0\n", "made with segment_s 5.0 but this run has 4.0"),
        (f"audio_model: {tiny_model}\n", "made with model [0-9a-f]{12}... but"),
        ("features_type: float16\n", "made with type float32 but"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            dump_songs(make(changes=short + change), CPU, splits)
        assert "\n" not in str(caught.value)


def test_features_of_other_songs_are_refused(make, splits):
    hparams = make(changes="noise: null\nvideo: zeros\n")
    dump_songs(hparams, CPU, splits)
    one, other = splits["train"][0]["wav"], splits["test"][0]["wav"]
    swapped = [{**row, "wav": other} for row in splits["train"]]
    assert one != other
    with pytest.raises(ConfigError, match="was made with songs"):
        dump_songs(hparams, CPU, {**splits, "train": swapped})


def test_levels_of_noise_are_part_of_the_marker(make, splits):
    changes = "noise: accompaniment\nvideo: zeros\n"
    (store,) = dump_songs(make(changes=changes), CPU, splits).values()
    marker = json.loads((store.folder / MARKER).read_text())
    assert marker["noise_kind"] == "accompaniment"
    assert marker["noise_ratio_db"] == -10
    with pytest.raises(ConfigError, match="noise_level mean_abs but"):
        dump_songs(make(changes=changes + "noise_level: rms\n"), CPU, splits)


def test_what_cannot_be_dumped_is_said_first(make, splits, melody_model):
    for change, error, message in (
        ("noise: babble\n", ConfigError, "construction slots needs clips"),
        ("noise: pink\n", ConfigError, "noise 'pink' is unknown"),
        ("video_model: null\n", ConfigError, "video_model is null"),
        (f"video_model: {melody_model}\n", ModelError, "no encoder of video"),
        ("audio_model: nowhere\n", ModelError, "nowhere: no such model"),
    ):
        with pytest.raises(error, match=message):
            dump_songs(make(changes=change), CPU, splits)


def test_store(tmp_path):
    store = FeatureStore(tmp_path / "a", {"type": "float16"})
    store.write("x", np.full((250, 4), 1.5))
    part = store.read("x", 100, 300)
    assert part.shape == (150, 4) and part.dtype == np.float32
    assert (part == 1.5).all()
    store.check({"x": 5.0}, 4)
    store.check({"x": 5.02}, 4)  # a frame is nothing
    with pytest.raises(OutputError, match="exists already"):
        store.write("x", np.zeros((250, 4)))
    with pytest.raises(ConfigError, match="do not fit float16: use float32"):
        store.write("y", np.full((1, 4), 1e5))
    assert store.missing(["x", "y"]) == ["y"]
    with pytest.raises(ManifestError, match="has 250 frames but the song 300"):
        store.check({"x": 6.0}, 4)
    with pytest.raises(ConfigError, match="of 4 channels but the model takes"):
        store.check({"x": 5.0}, 8)
    with pytest.raises(ManifestError, match="dump the features of song y"):
        store.read("y", 0, 1)
    (store.folder / "y.npy").write_bytes(b"no array")
    with pytest.raises(ManifestError, match="is damaged"):
        store.read("y", 0, 1)
    with pytest.raises(ConfigError, match="use float16 or float32"):
        FeatureStore(tmp_path / "b", {"type": "int8"})
    (store.folder / MARKER).write_text("{")
    with pytest.raises(ManifestError, match="is damaged"):
        FeatureStore(tmp_path / "a", {"type": "float16"})


# ---- the data of stage 2 ---------------------------------------------------


@pytest.fixture
def stores(tmp_path):
    """A song of 12 s whose features count the frames; 11 s of its lips."""
    found = []
    for name, count, sign in (("audio", 600, 1), ("video", 550, -1)):
        store = FeatureStore(tmp_path / name, {})
        numbers = sign * np.arange(1, count + 1, dtype=np.float32)
        store.write("a", np.stack([numbers, numbers], axis=1))
        found.append(store)
    return found


def segment_rows(lip_rows):
    """Segments of 5 and 7 s, whatever is sung in them."""
    shared = {"song_id": "a", "n_segments": 2, "notes": lip_rows[0]["notes"]}
    return [
        {**shared, "ID": "a_1", "segment": 1, "start": 0.0, "stop": 5.0},
        {**shared, "ID": "a_2", "segment": 2, "start": 5.0, "stop": 12.0},
    ]


def test_segments_are_cut_by_time(stores, lip_rows):
    one, two = feature_dataset(segment_rows(lip_rows), *stores)
    assert one["sig"][:, 0].tolist() == list(range(1, 251))
    assert one["lips"][:, 0].tolist() == [-k for k in range(1, 251)]
    assert two["sig"][:, 0].tolist() == list(range(251, 601))
    # The lips end a second early: zeros, not a shift.
    assert two["lips"][:, 0].tolist() == [
        *(-k for k in range(251, 551)),
        *[0] * 50,
    ]
    assert two["valid_frames"].tolist() == [0, 350]
    assert two["streams"].tolist() == [True, True]
    # Labels lie where those of the sound do.
    notes = read_notes(lip_rows[0]["notes"])
    first = next(note for note in notes if note.onset < 4)
    assert one["onset"][int(first.onset * 50)] == 1
    assert not two["onset"].any()


def test_the_control_sees_zeros(stores, lip_rows, make):
    one, _ = feature_dataset(segment_rows(lip_rows), stores[0])
    assert not one["lips"].any()
    assert one["streams"].tolist() == [True, False]
    encoder = make()["encoder"].eval()
    heard = torch.randn(2, 250, 128)
    fused, evidence = encoder(
        heard,
        None,
        one["lips"].expand(2, -1, -1),
        one["streams"].expand(2, -1),
    ).split([8, 120], dim=2)
    assert torch.equal(evidence, heard[..., 8:])
    # The same as the fusion with a video of zeros.
    zeros = torch.zeros(2, 250, 16)
    wanted = encoder.fusion(heard[..., :8], zeros)
    assert torch.allclose(fused, wanted, atol=1e-6)
    seen = encoder.fusion(heard[..., :8], torch.randn(2, 250, 16))
    assert not torch.allclose(fused, seen, atol=1e-2)


def test_pairs():
    pairs = plan_pairs([None, "white"], [-10, 5], ["lips", "zeros"])
    assert [pair.name for pair in pairs] == [
        "clean-lips",
        "clean-zeros",
        "white-10dB-lips",
        "white-10dB-zeros",
        "white+5dB-lips",
        "white+5dB-zeros",
    ]
    assert pairs[-1].condition.modality == "audio"
    assert pairs[-1].condition.db == 5
    assert plan_pairs("white", -5, "zeros") == [Pair("white", -5.0, "zeros")]
    assert plan_pairs(None, -5, "lips") == [Pair(None, None, "lips")]
    with pytest.raises(ConfigError, match="white but noise_db is null"):
        plan_pairs("white", None, "lips")
    with pytest.raises(ConfigError, match="video is 'mouth'"):
        plan_pairs(None, None, "mouth")


# ---- stage 2 ---------------------------------------------------------------


def test_it_starts_from_the_audio_head(make, melody_model):
    hparams = make()
    theirs = load_file(melody_model / "model.safetensors")
    TwoStageBrain.load_start(hparams)
    for key, value in hparams["head"].state_dict().items():
        assert torch.equal(value, theirs[f"head.{key}"])
    hparams = make(changes="start_from: null\n")
    before = hparams["head"].linear.weight.clone()
    TwoStageBrain.load_start(hparams)
    assert torch.equal(before, hparams["head"].linear.weight)


def test_another_head_is_refused(make, tiny_model):
    hparams = make(changes=f"start_from: {tiny_model}\n")
    with pytest.raises(ConfigError, match="its head is a NoteHead of 128"):
        TwoStageBrain.load_start(hparams)


def test_both_stages(make, splits, melody_model, lip_rows, monkeypatch):
    trained = {}

    def spy(hparams, *arguments, **options):
        found = run_transcription(hparams, *arguments, **options)
        trained[Path(hparams["output_folder"]).name] = {
            key: value.clone()
            for name in ("encoder", "head")
            for key, value in hparams[name].state_dict().items()
        }
        return found

    monkeypatch.setattr(two_stage, "run_transcription", spy)
    # With context, the dump is what a recording gives.
    hparams = make(changes="context_s: null\nsegment_s: 5.0\n")
    output = Path(hparams["output_folder"])
    results = run_two_stage(hparams, CPU, splits)
    names = [f"{k}-{v}" for k in ("clean", "accompaniment-10dB")
             for v in ("lips", "zeros")]  # fmt: skip
    assert list(trained) == names
    table = pd.read_csv(output / "results" / "noise.csv")
    assert len(table) == 4 and set(table.modality) == {"both", "audio"}
    assert (output / "results" / "noise.png").stat().st_size > 10000
    assert [stats.songs[0].song_id for stats in results.values()] == ["2"] * 4

    # The models differ, and none is what it started from.
    start = load_file(melody_model / "model.safetensors")["head.linear.weight"]
    found = [state["linear.weight"] for state in trained.values()]
    for k, one in enumerate(found):
        assert not torch.equal(one, start)
        assert not any(torch.equal(one, other) for other in found[:k])

    # Another run goes on with what was trained: the head does not start again.
    first = dict(trained)
    run_two_stage(make(changes="context_s: null\n"), CPU, splits)
    for name in names:
        for key, value in first[name].items():
            assert torch.equal(value, trained[name][key])

    # What is exported is the whole system, and says what was tested.
    assert not (output / "clean-zeros" / "model").exists()
    folder = output / "clean-lips"
    model = Transcriber.from_hparams(folder / "model")
    assert model.chunk_s == 5.0
    # The segments of these songs last 2 s.
    model = Transcriber.from_hparams(folder / "model", "cpu", {"chunk_s": 2.0})
    row = lip_rows[4]
    analysis = model.analyse_media(
        row["wav"], "both", read_crops(row["video"]), mend=False
    )
    found = model.decoder(analysis.posteriors)
    wanted = read_notes(folder / "results" / "test" / "notes" / "2.csv")
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        assert one.onset == pytest.approx(other.onset, abs=1e-3)
        assert one.midi == other.midi
    alone = model.transcribe(read_audio(row["wav"], sample_rate=16000), 16000)
    assert all(note.offset <= 4 for note in alone)

    # Features of another kind do not go into a model that was begun.
    folder = output / "elsewhere"
    other = f"features_folder: {folder}\nfeatures_type: float16\n"
    with pytest.raises(ConfigError, match="audio context_s null but"):
        run_two_stage(make(changes=other), CPU, splits)


def test_what_does_not_fit_is_refused(make, splits):
    one = "noise: null\nvideo: lips\nexport_models: False\n"
    for change, message in (
        ("encoder: {lips: {output_size: 8}}\n", "16 channels but the model"),
        (
            "augment: !new:speechbrain_ext.datasets.Augment\n",
            "features on disk cannot be augmented",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            run_two_stage(make(changes=one + change), CPU, splits)


def test_a_model_is_told_by_its_contents(tmp_path, melody_model, lip_model):
    for name in ("hyperparams.yaml", "model.safetensors"):
        (tmp_path / name).write_bytes((melody_model / name).read_bytes())
    assert fingerprint(tmp_path) == fingerprint(melody_model)
    assert fingerprint(lip_model) != fingerprint(melody_model)
    with (tmp_path / "model.safetensors").open("ab") as stream:
        stream.write(b"\0")
    assert fingerprint(tmp_path) != fingerprint(melody_model)
    with pytest.raises(ModelError, match="cannot be read"):
        fingerprint(tmp_path / "none")


def test_dumped_features_pass():
    feats = torch.randn(2, 5, 3)
    assert Dumped(3)(feats, torch.tensor([1.0, 0.5])) is feats


# ---- the video system ------------------------------------------------------


def test_published_video_system(tmp_path, lip_rows):
    variant = tmp_path / "tiny.yaml"
    variant.write_text(
        f"base: {RECIPES}/video_transcription/params_published.yaml\n"
        f"data_folder: none\noutput_folder: {tmp_path}\nplot_songs: 0\n"
        "number_of_epochs: 2\nprobe_epochs: 1\n"
        "encoder: {lips: !new:speechbrain_ext.encoders.av_hubert"
        ".AVHubertEncoder {dim: 16, n_layers: 1, ffn: 16, n_heads: 2,"
        " position_kernel: 8, position_groups: 2}}\n"
        "head: {input_size: 16}\n"
        "train_loader: {batch_size: 1, num_workers: 0}\n"
        "test_loader: {batch_size: 1, num_workers: 0}\n"
    )
    (tmp_path / "hyperparams.yaml").write_text(
        resolve_references(recipe.compose(variant)).getvalue()
    )
    hparams = recipe.load(variant)
    # Half a second of one song: the network is that of AV-HuBERT.
    rows = [{**lip_rows[0], "stop": 0.5, "n_segments": 1}]
    states = []

    class Watched(TwoStreamBrain):
        def on_stage_end(self, *arguments, **options):
            super().on_stage_end(*arguments, **options)
            state = hparams["encoder"].state_dict()
            states.append(state["lips.model.join.1.weight"].clone())

    torch.manual_seed(0)
    start = hparams["encoder"].lips.model.join[1].weight.detach().clone()
    seen = seen_as(rows, "video")
    results = run_transcription(
        hparams, CPU, rows, seen, {"video": seen}, brain_class=Watched
    )
    assert list(results) == ["video"]
    # Training, validation of two epochs, test: probed, then fine-tuned.
    assert torch.equal(states[0], start) and torch.equal(states[1], start)
    assert not torch.equal(states[2], start)
    model = Transcriber.from_hparams(tmp_path / "model")
    assert model.sees and not model.hears
    assert model.lip_decoder.method == "published"
