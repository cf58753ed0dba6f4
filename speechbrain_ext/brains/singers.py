"""The Brain of systems that tell several singers apart."""

from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.distributed import if_main_process

from data_prep.medleyvox import check_leaks
from speechbrain_ext.brains.separation import (
    SeparationBrain,
    SeparationObjective,
    load_start,
)
from speechbrain_ext.brains.training import config_errors, unwrap
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.metrics.bss_eval import si_sdr
from speechbrain_ext.metrics.singers import SingersStats, assign_outputs
from speechbrain_ext.mixing.sets import singers_sets
from speechbrain_ext.separation.masks import oracle_estimates

# The case of items that name none.
ANY_CASE = "all"


class SingersBrain(SeparationBrain):
    """Trains and evaluates a separator of singers, in one stage or two.

    Items have `id`, `sources (sources, samples)` or (sources, channels,
    samples), and may have `case`, `voices`, `n_singers`, `singers` and `song`
    (see `metrics.singers.SingersStats.append`), as those of `mixing.singers`,
    `mixing.plans` and `mixing.excerpts` have. The mixture is the sum of the
    sources.

    Hyper-parameters: those of `SeparationBrain`, where `scoring` is a
    dictionary of settings of `SingersStats`, and `loss`, a
    `losses.SingersLoss`; `plateau`, a scheduler as
    `torch.optim.lr_scheduler.ReduceLROnPlateau` or None, which is told the
    gain in validation; `ordered_cases`, in which the order of the outputs has
    a meaning; `oracles`, scored beside the model ("mixture", or those of
    `separation.masks.ORACLES`); `loudest_first`, whether outputs of these cases
    are put in the order of their level before their order is scored, as
    `inference.splitter.SingerSplitter` gives them in the mode "main".

    Validation gives the mean gain in SI-SDR of each case. The mean over cases,
    each counted once whatever its number of items, decides which checkpoint is
    best, when the rate falls and when training ends.

    Arguments
    ---------
    *args, **kwargs
        See `speechbrain.Brain`.
    """

    purpose = "The voices of several singers from a recording of them together."
    command = "split"

    def make_dataloader(self, dataset, stage, **kwargs):
        """Make batches of the items of any data set; of one item in tests.

        Excerpts of a test differ in length, and silence after the shorter ones
        would be scored with them.

        Arguments
        ---------
        dataset : Dataset
        stage : speechbrain.Stage
        **kwargs : dict
            See `speechbrain.Brain.make_dataloader`.

        Returns
        -------
        DataLoader
        """
        kwargs.setdefault("collate_fn", PaddedBatch)
        if stage == sb.Stage.TEST:
            kwargs["batch_size"] = 1
        return super().make_dataloader(dataset, stage, **kwargs)

    def sources_of(self, batch):
        """Sources of the items of a batch.

        Arguments
        ---------
        batch : PaddedBatch

        Returns
        -------
        torch.Tensor (batch, sources, channels, samples)

        Raises
        ------
        ConfigError
            If there are not as many as the separator has outputs.
        """
        sources = batch.sources.data
        if sources.ndim == 3:
            sources = sources.unsqueeze(2)
        outputs = len(self.separator.sources)
        if sources.shape[1] != outputs:
            raise ConfigError(
                f"items have {sources.shape[1]} sources, the separator gives "
                f"{outputs}: make separator.sources and n_sources fit the data"
            )
        return sources

    def validate(self, separator, mixture, sources, epoch):
        """Loss terms and estimates of a batch in validation.

        Arguments
        ---------
        separator : torch.nn.Module
        mixture : torch.Tensor (batch, channels, samples)
        sources : torch.Tensor (batch, sources, channels, samples)
        epoch : int

        Returns
        -------
        (dict of str to torch.Tensor, torch.Tensor)
            Scalars; (batch, sources, channels, samples).
        """
        stages = separator.stages(mixture)
        loss = unwrap(self.modules.objective).loss
        return loss.terms(stages, sources), stages[-1]

    def validate_item(self, batch, number, sources, estimates):
        """Note what an item gains in validation, in the best order.

        Arguments
        ---------
        batch : PaddedBatch
        number : int
            Of the item in the batch.
        sources, estimates : np.ndarray (sources, channels, samples)
        """
        _, scores = assign_outputs(sources, estimates)
        mixture = np.broadcast_to(sources.sum(0), sources.shape)
        gains = scores - si_sdr(sources, mixture)
        gains = gains[np.isfinite(gains)]
        if len(gains):
            case = _label(batch, "case", number) or ANY_CASE
            self.gains.setdefault(case, []).append(float(gains.mean()))

    def new_stats(self):
        """Statistics of a test, still empty.

        Returns
        -------
        SingersStats
        """
        self.oracle_stats = {
            kind: SingersStats(**self.hparams.scoring)
            for kind in self.hparams.oracles
        }
        return SingersStats(**self.hparams.scoring)

    def score(self, batch, number, sources, estimates):
        """Score an item of a test, and what oracles make of it.

        Arguments
        ---------
        batch : PaddedBatch
        number : int
            Of the item in the batch.
        sources, estimates : np.ndarray (sources, channels, samples)
        """
        case = _label(batch, "case", number)
        labels = {
            "case": case,
            "voices": _label(batch, "voices", number),
            "song": _label(batch, "song", number),
            "n_singers": _label(batch, "n_singers", number),
            "singers": _label(batch, "singers", number),
        }
        ordered = case in self.hparams.ordered_cases
        if ordered and self.hparams.loudest_first:
            levels = np.square(estimates).sum((1, 2))
            estimates = estimates[np.argsort(-levels, kind="stable")]
        item = batch.id[number]
        self.stats.append(
            item, sources, estimates, self.test_rate, ordered=ordered, **labels
        )
        for kind, stats in self.oracle_stats.items():
            ideal = self.ideal(kind, sources)
            stats.append(item, sources, ideal, self.test_rate, **labels)
        self.on_estimate(item, estimates)

    def ideal(self, kind, sources):
        """Estimates of an oracle, with the transform of the separator.

        Arguments
        ---------
        kind : str
            "mixture", or one of `separation.masks.ORACLES`.
        sources : np.ndarray (sources, channels, samples)

        Returns
        -------
        np.ndarray (sources, channels, samples)
        """
        if kind == "mixture":
            return np.broadcast_to(sources.sum(0), sources.shape)
        # The axis of the channels comes before that of the sources.
        wavs = torch.from_numpy(np.ascontiguousarray(sources.swapaxes(0, 1)))
        codec = self.separator.codec
        estimates = oracle_estimates(
            wavs, kind, window=codec.window_name, **codec.settings
        )
        return estimates.numpy().swapaxes(0, 1)

    def init_optimizers(self):
        """One optimiser, and a scheduler that waits for a plateau."""
        super().init_optimizers()
        self.plateau = None
        if self.hparams.plateau is None:
            return
        if self.hparams.lr_schedule is not None:
            raise ConfigError(
                "lr_schedule and plateau are both given: set one to null"
            )
        optimizer = self.optimizers_dict["separator"]
        with config_errors("plateau"):
            self.plateau = self.hparams.plateau(optimizer, mode="max")
        rate = optimizer.param_groups[0]["lr"]
        lowest = min(self.plateau.min_lrs)
        if lowest >= rate:
            raise ConfigError(
                f"plateau.min_lr is {lowest:g} but optimizer.lr {rate:g}: the "
                "rate could never fall, make min_lr smaller"
            )
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("plateau", self.plateau)

    def on_score(self, score):
        """Called with the mean gain of every validation.

        Arguments
        ---------
        score : float
            SI-SDRi, dB, the same in all processes.
        """
        super().on_score(score)
        if self.plateau is not None:
            self.plateau.step(score)

    def test(self, name, dataset, folder, *args, **kwargs):
        """Evaluate the best checkpoint, and the oracles, on a test set.

        Arguments
        ---------
        name : str
            Of the test set; results go to `folder/name`.
        dataset : Dataset
        folder : str or Path
            Existing results in it are replaced.
        *args, **kwargs
            See `SeparationBrain.test`.

        Returns
        -------
        SingersStats
            Also written: `scores.csv` (per item), `scores.txt` (table),
            `scores.png`, `scores_<oracle>.csv`, and, where items tell their
            singers, `pairs.csv`; `oracle_stats` has those of the oracles.
        """
        stats = super().test(name, dataset, folder, *args, **kwargs)
        if if_main_process():
            place = Path(folder) / name
            for kind, each in self.oracle_stats.items():
                each.write_csv(place / f"scores_{kind}.csv", overwrite=True)
            stats.write_pairs(place / "pairs.csv", overwrite=True)
            from speechbrain_ext.report.plots import singers_figure

            singers_figure(stats, place / "scores.png", overwrite=True)
        return stats


def _label(batch, name, number):
    """What an item says of itself, or None."""
    values = getattr(batch, name, None)
    return None if values is None else values[number]


def train_singers(hparams, run_opts, train, valid, tests, rows):
    """Train, test and export a separator of singers: what its recipes share.

    Arguments
    ---------
    hparams : dict
        Of the recipe, see `SingersBrain`, and `start_from`, a model folder or
        None; `train_loader`, `test_loader`, `keep_estimates`.
    run_opts : dict
        Of SpeechBrain.
    train, valid : Dataset
        Of items as `SingersBrain` takes them, at the separator's sample rate.
    tests : dict of str to Dataset
        By test set.
    rows : list of dict
        Manifest rows of the training data, for the model card. None may be of
        an artist whom the test set of MedleyVox has.

    Returns
    -------
    dict of str to SingersStats
        By test set, and "<test set>, oracle <oracle>". `output_folder` gets
        `results/<test set>/`, `results/summary.txt`, `training.png` and the
        model folder `model/`; with `--debug`, its folder `debug` does.

    Raises
    ------
    ConfigError
        If a data set that tells its `sample_rate` has another one.
    """
    check_leaks(rows)
    separator = hparams["separator"]
    for dataset in (train, valid, *tests.values()):
        rate = getattr(dataset, "sample_rate", separator.sample_rate)
        if rate != separator.sample_rate:
            raise ConfigError(
                f"a data set has {rate} Hz, separator.sample_rate is "
                f"{separator.sample_rate}: make them the same"
            )
    if hparams["start_from"]:
        load_start(hparams["start_from"], separator)
    brain = SingersBrain(
        modules={"objective": SeparationObjective(separator, hparams["loss"])},
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.learn(train, valid)
    results = {}
    for name, dataset in tests.items():
        results[name] = brain.test(
            name,
            dataset,
            brain.results_folder() / "results",
            hparams["test_loader"],
            hparams["keep_estimates"],
        )
        for kind, stats in brain.oracle_stats.items():
            results[f"{name}, oracle {kind}"] = stats
    brain.finish(results, rows)
    return results


def run_singers(hparams, run_opts, corpora):
    """Train, test and export a separator of singers, from manifest rows.

    Arguments
    ---------
    hparams : dict
        Those of `train_singers`, and what `mixing.sets.singers_sets` takes:
        `mixtures`, its settings; `cases`, `unison`, `items`, `valid_singers`,
        `test_singers`, `valid_plan`, `valid_mixtures`, `test_mixtures`,
        `test_tasks`; `keep_in_memory`, whether recordings are. Plans are in
        `output_folder/plans`.
    run_opts : dict
        Of SpeechBrain.
    corpora : dict of str to dict of str to list
        Rows by corpus and split (`datasets.corpora_rows`).

    Returns
    -------
    dict of str to SingersStats
        See `train_singers`.
    """
    separator = hparams["separator"]
    sets = singers_sets(
        corpora,
        Path(hparams["output_folder"]) / "plans",
        hparams["mixtures"],
        hparams["cases"],
        hparams["unison"],
        hparams["items"],
        separator.sample_rate,
        len(separator.sources),
        hparams["seed"],
        hparams["epoch_counter"],
        hparams["keep_in_memory"],
        hparams["valid_singers"],
        hparams["test_singers"],
        hparams["valid_plan"],
        hparams["valid_mixtures"],
        hparams["test_mixtures"],
        hparams["test_tasks"],
    )
    return train_singers(
        hparams, run_opts, sets.train, sets.valid, sets.tests, sets.rows
    )
