"""Train and test the transcription of lyrics on DSing.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/DSing

The first command needs no data: it writes MiniSinging in the layouts of DSing
and N20EM first. The second should come near the word error rate of 14.24 % on
the DSing test lines that the authors of MM-ALT give for their code.
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.lyrics_transcription import (
    run_lyrics_transcription,
)
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the corpora, train on DSing, test on all that are given."""
    options = {"dsing": hparams["dsing_options"]}
    rows = corpora_rows(hparams, ["dsing", "n20em"], options)
    run_lyrics_transcription(
        hparams,
        run_opts,
        train=rows["dsing"]["train"],
        valid=rows["dsing"]["valid"],
        tests={name: splits["test"] for name, splits in rows.items()},
    )


if __name__ == "__main__":
    recipe.run(main)
