"""A pytest plugin for mutants: that a test fails is enough, hypothesis need not look for the shortest way to fail."""

from hypothesis import Phase, settings

settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), report_multiple_bugs=False)
settings.load_profile("mutants")
