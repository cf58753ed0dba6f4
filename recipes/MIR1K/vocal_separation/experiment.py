"""Train and test a separator of voice and accompaniment on MIR-1K.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/MIR-1K

The first command runs on synthetic clips in MIR-1K's layout and takes minutes
on two CPU cores; the second takes hours.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.vocal_separation import run_separation
from speechbrain_ext.datasets import corpora_rows, repeated


def main(hparams, run_opts):
    """Prepare MIR-1K, train on some singers or songs, test on the others."""
    options = {"protocol": hparams["split"], "whole": hparams["whole_songs"]}
    rows = corpora_rows(hparams, ["mir1k", "minisinging"], {"mir1k": options})
    mir1k, synthetic = rows["mir1k"], rows.get("minisinging", {})
    splits = hparams["train_splits"]
    train = [row for split in splits for row in mir1k[split]]
    train = repeated(train, hparams["repeats"]) + synthetic.get("train", [])
    tests = {hparams["split"]: mir1k["test"]}
    if "test" in splits:  # what was learnt by heart is no test
        del tests[hparams["split"]]
    if synthetic:
        tests["minisinging"] = synthetic["test"]
    run_separation(hparams, run_opts, train, mir1k["valid"], tests)


if __name__ == "__main__":
    recipe.run(main)
