"""Train and test a separator of voice and accompaniment on MUSDB18.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/musdb18hq

The first command runs on synthetic songs in MUSDB18's layout and takes minutes
on two CPU cores; the second wants a GPU and days.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.vocal_separation import run_separation
from speechbrain_ext.datasets import corpora_rows, repeated


def main(hparams, run_opts):
    """Prepare MUSDB18 or MUSDB18-HQ, train, test on whole songs in stereo."""
    options = {"stems": False, "audio_folder": hparams["audio_folder"]}
    rows = corpora_rows(hparams, ["musdb18"], {"musdb18": options})["musdb18"]
    train = repeated(rows["train"], hparams["repeats"])
    tests = {"musdb18": rows["test"]}
    rate = hparams["test_sample_rate"]
    run_separation(hparams, run_opts, train, rows["valid"], tests, rate)


if __name__ == "__main__":
    recipe.run(main)
