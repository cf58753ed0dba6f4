"""Names the packages of the wheel; all else is in pyproject.toml.

The models that ship with the project live in the top-level folder
`pretrained/`. In an installed wheel they are `speechbrain_ext/pretrained/`.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(
            include=[
                "speechbrain_ext",
                "speechbrain_ext.*",
                "data_prep",
                "data_prep.*",
            ]
        ),
        "speechbrain_ext.pretrained",
    ],
    package_dir={"speechbrain_ext.pretrained": "pretrained"},
    package_data={
        "speechbrain_ext.pretrained": ["**/*"],
        "speechbrain_ext.report": ["*.html", "*.css", "*.js"],
    },
)
