"""Train what hears phones on MiniSinging; test it by aligning lyrics.

    python experiment.py mini.yaml
    python experiment.py params.yaml

The first command takes minutes on two CPU cores, the second under an hour;
neither needs a download.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.lyrics import run_phone_recognition
from speechbrain_ext.datasets import accompanied, corpora_rows


def main(hparams, run_opts):
    """Write the corpus, train on it, test alone and with accompaniment."""
    rows = corpora_rows(hparams, ["minisinging"])["minisinging"]
    level, valid = hparams["noise_level"], list(rows["valid"])
    for mixed in accompanied(valid, hparams["valid_mix_db"], level).values():
        valid += mixed
    tests = {"clean": rows["test"]}
    tests |= accompanied(rows["test"], hparams["test_mix_db"], level)
    run_phone_recognition(hparams, run_opts, rows["train"], valid, tests)


if __name__ == "__main__":
    recipe.run(main)
