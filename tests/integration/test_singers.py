"""Several singers, from corpora on disk to a model that tells them apart."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

from data_prep import prepare
from data_prep.manifest import read_manifest
from data_prep.medleyvox import check_leaks, task_rows
from data_prep.minisinging import as_medleyvox, as_singing_corpora
from data_prep.singing_corpora import prepare_singing_corpora
from speechbrain_ext.audio import integrated_loudness, read_audio
from speechbrain_ext.brains.singers import train_singers
from speechbrain_ext.errors import ConfigError, ManifestError
from speechbrain_ext.inference.model_folder import load_model
from speechbrain_ext.inference.separator import VoiceSeparator
from speechbrain_ext.metrics.singers import SingersStats, evaluate_singers
from speechbrain_ext.mixing.excerpts import ExcerptDataset
from speechbrain_ext.mixing.plans import (
    VALIDATION_CASES,
    PlanDataset,
    validation_plan,
    write_plan,
)
from speechbrain_ext.mixing.singers import (
    DUET,
    MAIN_AND_REST,
    TRAINING_CASES,
    MixtureDataset,
    with_probabilities,
)

RATE = 8000
SHORT = replace(DUET, segment_s=1.0)
CHOIR = replace(MAIN_AND_REST, segment_s=1.0)

# One of MedleyVox's artists, who is in MUSDB18's training part too.
LEAK = "Faces On Film - Waiting For Ga"

PARAMS = """
experiment: tiny
seed: 1
output_folder: {output}
start_from: null
separator: !new:speechbrain_ext.separation.separator.MaskSeparator
  sources: [first, second]
  sample_rate: 8000
  n_fft: 256
  hop_length: 64
  window: sqrt_hann
  network: !new:speechbrain_ext.separation.tasnet.ConvTasNet
    n_bins: 129
    n_blocks: 2
    n_repeats: 1
    channels: 8
    hidden: 16
    skip: 8
loss: !new:speechbrain_ext.losses.SingersLoss
  windows: [256]
train_loader: {{batch_size: 2}}
test_loader: {{batch_size: 3}}
optimizer: !name:torch.optim.Adam
  lr: 0.001
lr_schedule: null
plateau: null
average_decay: 0.0
max_grad_norm: 5.0
keep_checkpoints: 1
keep_estimates: False
scoring: {{bss: True, filter_length: 8}}
ordered_cases: [main_vs_rest]
loudest_first: False
oracles: [irm]
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounter
  limit: 1
checkpointer: !new:speechbrain_ext.brains.training.Checkpoints
  checkpoints_dir: {output}/save
  recoverables:
    separator: !ref <separator>
    epoch: !ref <epoch_counter>
train_logger: !new:speechbrain.utils.train_logger.FileTrainLogger
  save_file: {output}/train_log.txt
"""


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Folder of four corpora with a recording that must not be trained on."""
    folder = as_singing_corpora(
        tmp_path_factory.mktemp("singers") / "corpora",
        song_s=3.2,
        sample_rate=RATE,
        progress=False,
    )
    train = folder / "musdb18_voices" / "train"
    song = sorted(train.iterdir())[0]
    shutil.copytree(song, train / LEAK)
    lyrics = folder / "musdb18_voices" / "lyrics" / "train"
    shutil.copy(lyrics / f"{song.name}.txt", lyrics / f"{LEAK}.txt")
    return folder


@pytest.fixture(scope="module")
def rows(corpora):
    """Rows of the manifests by split, of all corpora together."""
    out = corpora.parent / "manifests"
    summary = prepare_singing_corpora(corpora, out)
    assert any("Faces On Film" in remark for remark in summary.remarks)
    return {
        split: read_manifest(path, corpora)
        for split, path in summary.manifests.items()
    }


@pytest.fixture(scope="module")
def excerpts(tmp_path_factory):
    """Rows of a test set in the layout of MedleyVox, all tasks."""
    folder = as_medleyvox(
        tmp_path_factory.mktemp("choirs") / "MedleyVox",
        n_unison=2,
        n_duet=2,
        n_main_vs_rest=2,
        song_s=(1.2, 2.0),
        voices=3,
        sample_rate=RATE,
        progress=False,
    )
    summary = prepare("medleyvox", folder, folder.parent / "manifests")
    # Rows shorter than the excerpts, which are taken whole all the same.
    prepare("medleyvox", folder, folder.parent / "short", segment_s=0.5)
    short = read_manifest(folder.parent / "short" / "test.csv", folder)
    assert len(short) > len({row["song_id"] for row in short})
    return read_manifest(summary.manifests["test"], folder), short


def singers_of(items, dataset):
    """Names of those who sing or speak in items of a data set."""
    known = dataset.pools.recordings
    return {
        known[voice.recording].singer for item in items for voice in item.voices
    }


def assert_sound(item, n_sources, samples):
    sources = item["sources"]
    assert sources.shape == (n_sources, samples)
    assert torch.equal(sources.sum(0), item["mixture"])
    assert sources.isfinite().all()
    assert (sources.square().mean(1) > 0).all()


@pytest.mark.parametrize(
    ("settings", "cases"),
    [
        (SHORT, TRAINING_CASES),
        # Four of one kind are too many for the two speakers.
        (
            CHOIR,
            with_probabilities(
                {"sing_sing": 0.3, "same_song": 0.4, "same_singer": 0.3}
            ),
        ),
    ],
    ids=["duet", "main_vs_rest"],
)
def test_training_mixtures(rows, excerpts, settings, cases):
    data = MixtureDataset(rows["train"], 40, settings, cases, RATE, seed=3)
    drawn = [data.plan(k) for k in range(len(data))]
    assert {x.case for x in drawn} == {case.name for case in cases}
    for k in range(0, len(data), 10):
        item = data[k]
        assert_sound(item, 2, RATE)
        assert item["voices"] == len(drawn[k].voices)
    counts = {len(x.voices) for x in drawn}
    assert counts == ({2} if settings is SHORT else {2, 3, 4})
    # Nobody who is heard in validation or in the test set.
    others = {row["singer"] for row in rows["valid"] + excerpts[0]}
    heard = singers_of(drawn, data)
    assert heard and not heard & others


def test_no_recording_of_the_test_set_is_there(rows):
    check_leaks(rows["train"] + rows["valid"])
    names = {row["song_id"] for part in rows.values() for row in part}
    assert names and not [name for name in names if "Faces" in name]


def test_songs_in_common_are_found_through_the_manifests(rows):
    cases = with_probabilities({"same_song": 1.0})
    data = MixtureDataset(rows["train"], 10, SHORT, cases, RATE)
    known = data.pools.recordings
    for k in range(len(data)):
        one, two = (known[v.recording] for v in data.plan(k).voices)
        assert one.song == two.song and one.song.startswith("k_multisinger - ")
        assert one.singer != two.singer
        first, second = data.plan(k).voices
        assert first.start == second.start


def test_an_artist_of_two_corpora_is_one_singer(tmp_path):
    folder = as_singing_corpora(
        tmp_path / "corpora",
        ["musdb18_voices", "medleydb"],
        n_singers=2,
        songs_per_singer=1,
        song_s=3.2,
        sample_rate=RATE,
        progress=False,
    )
    summary = prepare_singing_corpora(folder, tmp_path / "out")
    rows = read_manifest(summary.manifests["train"], folder)
    assert {row["dataset"] for row in rows} == {"musdb18_voices", "medleydb"}
    cases = with_probabilities({"same_singer": 1.0})
    data = MixtureDataset(rows, 4, SHORT, cases, RATE)
    assert {x.singer for x in data.pools.recordings.values()} == {
        "artist - minisinger1"
    }
    # So nobody is taken for another singer than he is.
    with pytest.raises(ConfigError, match="wants 2 voices .* 1 singers"):
        MixtureDataset(
            rows, 4, SHORT, with_probabilities({"sing_sing": 1.0}), RATE
        )


@pytest.mark.parametrize("settings", [SHORT, CHOIR], ids=["duet", "main"])
def test_validation_plan(rows, tmp_path, settings):
    if settings is CHOIR:
        settings = replace(settings, voices=2)
    plan = validation_plan(
        rows["valid"], 5, 1, settings, VALIDATION_CASES, RATE
    )
    path = write_plan(plan, tmp_path / "plan.json")
    data = PlanDataset(rows["valid"], path, RATE)
    assert {x.case for x in plan.mixtures} == {
        case.name for case in VALIDATION_CASES
    }
    for item in data:
        assert_sound(item, 2, RATE)
    trained = {row["singer"] for row in rows["train"]}
    assert not singers_of(plan.mixtures, data) & trained


def test_a_plan_fits_corpora_prepared_alone(rows, corpora, tmp_path):
    """Names of recordings do not depend on what was prepared with them."""
    part = [row for row in rows["valid"] if row["dataset"] == "librispeech"]
    cases = [case for case in VALIDATION_CASES if case.pools == ("speech",)]
    plan = validation_plan(part, 0, 1, SHORT, cases, RATE)
    folder = corpora / "librispeech"
    summary = prepare("librispeech", folder, tmp_path / "out")
    alone = read_manifest(summary.manifests["valid"], folder)
    assert {row["song_id"] for row in alone}.isdisjoint(
        row["song_id"] for row in part
    )
    items = zip(
        PlanDataset(part, plan, RATE),
        PlanDataset(alone, plan, RATE),
        strict=True,
    )
    for one, two in items:
        assert torch.equal(one["sources"], two["sources"])


@pytest.mark.parametrize("task", ["unison", "duet", "main_vs_rest"])
def test_excerpts(excerpts, task):
    whole, short = (task_rows(rows, task) for rows in excerpts)
    data = ExcerptDataset(whole, RATE)
    assert len(data) == len({row["song_id"] for row in whole}) == 2
    for row, item, same in zip(
        whole, data, ExcerptDataset(short, RATE), strict=True
    ):
        assert (item["id"], item["case"]) == (row["song_id"], task)
        assert item["song"] == row["song"]
        samples = round(row["stop"] * RATE)
        assert_sound(item, item["voices"], samples)
        assert torch.equal(item["sources"], same["sources"])
        mixture = item["mixture"].numpy()
        assert integrated_loudness(mixture, RATE) == pytest.approx(-24, abs=0.1)
        # The voices are those of the files, all with one factor.
        main = read_audio(row["wav"], sample_rate=RATE)
        gain = item["sources"][0].numpy() @ main / (main @ main)
        mix = read_audio(row["mix_wav"], sample_rate=RATE)
        np.testing.assert_allclose(mixture, gain * mix, atol=1e-5)


def test_excerpts_as_main_voice_and_rest(excerpts):
    rows = task_rows(excerpts[0], "n_singing")
    each = ExcerptDataset(rows, RATE, loudness=None)
    pairs = ExcerptDataset(rows, RATE, n_sources=2, loudness=None)
    assert len(pairs) == 6
    counts = set()
    for one, two in zip(each, pairs, strict=True):
        assert_sound(two, 2, one["sources"].shape[1])
        voices = one["sources"]
        assert torch.equal(two["sources"][0], voices[0])
        rest = voices[1:].double().sum(0).float()
        assert torch.equal(two["sources"][1], rest)
        assert two["voices"] == one["voices"] == len(voices)
        counts.add(len(voices))
    assert max(counts) == 3


def test_excerpts_that_cannot_be_taken(excerpts):
    duets = task_rows(excerpts[0], "duet")
    with pytest.raises(ManifestError, match="0 segments"):
        ExcerptDataset([])
    with pytest.raises(ManifestError, match="has 1 of wav and voice2_wav"):
        ExcerptDataset([{**duets[0], "voice2_wav": None}])
    with pytest.raises(ConfigError, match="has 2 voices, n_sources is 3"):
        ExcerptDataset(duets, n_sources=3)
    with pytest.raises(ConfigError, match="n_sources is 1"):
        ExcerptDataset(duets, n_sources=1)
    brief = [{**duets[0], "stop": 0.3}]
    with pytest.raises(ManifestError, match="lasts 0.3 s, its loudness"):
        ExcerptDataset(brief)
    assert len(ExcerptDataset(brief, loudness=None)) == 1


def test_excerpts_are_scored(excerpts):
    """Perfect outputs in another order; the mixture twice."""
    stats = SingersStats(filter_length=8)
    for task in ("unison", "duet", "main_vs_rest"):
        data = ExcerptDataset(task_rows(excerpts[0], task), RATE, n_sources=2)
        for item in data:
            sources = item["sources"].numpy()
            noise = np.random.default_rng(0).normal(size=sources.shape)
            outputs = sources[::-1] + 1e-3 * sources.std() * noise
            labels = {key: item[key] for key in ("case", "voices", "song")}
            stats.append(item["id"], sources, outputs, RATE, **labels)
            twice = np.stack([item["mixture"].numpy()] * 2)
            scores, _ = evaluate_singers(sources, twice, RATE, bss=False)
            assert scores["SI-SDRi"] == pytest.approx(0, abs=1e-3)
    assert {item.order for item in stats.songs} == {(1, 0)}
    assert {"unison", "duet", "main_vs_rest"} <= {*stats.groups()}
    summary = stats.summarize()
    assert summary["SI-SDR_mean"] > 40 and summary["items"] == 6
    assert summary["songs"] == len({row["song"] for row in excerpts[0]})


@pytest.fixture(scope="module")
def trained(rows, excerpts, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "out"
    output.mkdir()
    text = PARAMS.format(output=output)
    (output / "hyperparams.yaml").write_text(text)
    torch.manual_seed(1)
    hparams = load_hyperpyyaml(text)
    train = MixtureDataset(
        rows["train"],
        4,
        SHORT,
        sample_rate=RATE,
        seed=hparams["seed"],
        epoch_counter=hparams["epoch_counter"],
    )
    cases = VALIDATION_CASES[:2]
    plan = validation_plan(rows["valid"], 0, 2, SHORT, cases, RATE)
    tests = {
        task: ExcerptDataset(task_rows(excerpts[0], task), RATE, n_sources=2)
        for task in ("duet", "n_singing")
    }
    results = train_singers(
        hparams,
        None,
        train,
        PlanDataset(rows["valid"], plan, RATE),
        tests,
        rows["train"],
    )
    return output, hparams, results


def test_a_separator_is_trained_and_tested(trained, excerpts):
    output, _, results = trained
    log = (output / "train_log.txt").read_text()
    assert "sing_sing_diff_SI-SDRi" in log and "sing_sing_unison" in log
    assert list(results) == [
        "duet",
        "duet, oracle irm",
        "n_singing",
        "n_singing, oracle irm",
    ]
    # Whole excerpts of their own lengths, though batches have three items.
    lengths = {row["song_id"]: row["duration"] for row in excerpts[0]}
    found = {x.song_id: x.seconds for x in results["n_singing"].songs}
    assert found == pytest.approx(lengths, abs=1e-3)
    for stats in results.values():
        assert np.isfinite(stats.summarize()["SI-SDRi_mean"])
    # The order has a meaning where there is a main voice.
    by_case = results["n_singing"].groups()
    assert by_case["main_vs_rest"].summarize()["fixed SI-SDRi_items"] == 2
    assert by_case["duet"].summarize()["fixed SI-SDRi_items"] == 0


def test_the_model_is_used_like_any_other(trained, excerpts):
    output, hparams, _ = trained
    model = load_model(output / "model", ("separator",))
    item = ExcerptDataset(excerpts[0], RATE, n_sources=2)[0]
    mixture = item["mixture"][None, None]
    with torch.no_grad():
        wanted = hparams["separator"].eval()(mixture)
        found = model["separator"].eval()(mixture)
    assert torch.allclose(found, wanted, atol=1e-6)
    voices = VoiceSeparator.from_hparams(output / "model")
    stems = voices.separate(item["mixture"].numpy(), RATE)
    assert set(stems) == {"first", "second"}
    np.testing.assert_allclose(
        sum(stems.values()), item["mixture"].numpy(), atol=1e-5
    )
    card = (output / "model" / "README.md").read_text()
    assert "Apache-2.0" in card and "main_vs_rest" in card


def test_rates_have_to_agree(trained, rows):
    _, hparams, _ = trained
    data = MixtureDataset(rows["train"], 1, SHORT, sample_rate=2 * RATE)
    with pytest.raises(ConfigError, match="16000 Hz, separator.* 8000"):
        train_singers(hparams, None, data, data, {}, rows["train"])
