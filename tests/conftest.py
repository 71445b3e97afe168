"""pytest puts its own warning filters in place of a program's, so it is given the program's list."""

from cotrain.pipeline.compat import SPURIOUS_WARNINGS


def pytest_configure(config):
    for message, category, module in SPURIOUS_WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{message}:{category.__name__}:{module}")
