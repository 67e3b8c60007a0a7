"""How time and memory grow with size: each study measures stages at several sizes, fits a curve, draws it.

A study is a module with ``TITLE``, ``UNIT`` (what a size counts), ``SIZES``, ``QUICK`` (sizes that only show that it
works) and ``run(sizes, quick) -> list[Point]``. ``python -m benchmarks.scale`` runs all of them and writes the results
into ``docs/scaling.md``; see ``benchmarks.scale.__main__``. Where other work shares the machine, trust processor
seconds, not seconds.
"""
