"""The one thing setup.cfg has no words for: the compiled searches. All else is in setup.cfg.

Without a C compiler, or where one of them cannot be compiled, nestvec installs all the same: exact search then scans
everything, and FAISS searches `ivf-pq`. `nestvec doctor` says so.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            f"indexers.kernels.{name}",
            [f"indexers/kernels/{name}.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        )
        for name in ("_prune", "_probe")
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
