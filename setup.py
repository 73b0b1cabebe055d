"""The one thing setup.cfg has no words for: the compiled scan behind exact search. All else is in setup.cfg.

Without a C compiler nestvec installs all the same; exact search then scans everything, and `nestvec doctor` says so.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "indexers._prune",
            ["indexers/_prune.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
