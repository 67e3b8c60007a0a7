"""How fast and how large: each module ``bench_*.py`` measures one stage against its peers. See ``harness``."""
