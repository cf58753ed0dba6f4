"""What the recipes for a voice and its accompaniment share."""

from speechbrain_ext.brains.separation import (
    SeparationBrain,
    load_start,
)
from speechbrain_ext.errors import ConfigError
from speechbrain_ext.separation import SOURCES


def run_separation(
    hparams,
    run_opts,
    train,
    valid,
    tests,
    test_rate=None,
    brain_class=SeparationBrain,
):
    """Train, test and export a separator: what its recipes share.

    Arguments
    ---------
    hparams : dict
        Of the recipe, see `SeparationBrain`.
    run_opts : dict
        Of SpeechBrain.
    train, valid : list of dict
        Manifest rows.
    tests : dict of str to list of dict
        Manifest rows by test set.
    test_rate : int, optional
        Sample rate at which test sets are separated and scored, hertz. Default:
        that of the separator.
    brain_class : type
        `SeparationBrain` (default) or one of its kind.

    Returns
    -------
    dict of str to SeparationStats
        By test set. `output_folder` gets `results/<test set>/`,
        `results/summary.txt`, `training.png` and the model folder `model/`;
        with `--debug`, its folder `debug` does.
    """
    separator = hparams["separator"]
    if tuple(separator.sources) != SOURCES:
        raise ConfigError(
            f"separator.sources is {list(separator.sources)}: this recipe "
            "gives it vocals, accompaniment"
        )
    if hparams["start_from"]:
        load_start(hparams["start_from"], separator)
    shared = {
        "sample_rate": separator.sample_rate,
        "channels": hparams["channels"],
        "seed": hparams["seed"],
    }
    train_set = brain_class.make_dataset(
        train,
        separator,
        epoch_counter=hparams["epoch_counter"],
        augment=hparams["augment"],
        segment_s=hparams["segment_s"],
        **shared,
    )
    valid_set = brain_class.make_dataset(
        valid,
        separator,
        ratio_db=hparams["test_ratio_db"],
        segment_s=None if hparams["valid_whole"] else hparams["segment_s"],
        **shared,
    )
    objective = brain_class.objective_class(separator, hparams["loss"])
    brain = brain_class(
        modules={"objective": objective},
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.learn(train_set, valid_set)
    output = brain.results_folder()
    results = {
        name: brain.test(
            name,
            brain_class.make_dataset(
                rows,
                separator,
                ratio_db=hparams["test_ratio_db"],
                **{**shared, "sample_rate": test_rate or separator.sample_rate},
            ),
            output / "results",
            hparams["test_loader"],
            hparams["keep_estimates"],
            test_rate,
        )
        for name, rows in tests.items()
    }
    brain.finish(results, train)
    return results
