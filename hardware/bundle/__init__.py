"""The lab submission.

What travels: `pack`, `archive`, `source`. How it runs there: `run`, `session`, `targets`, `board`, `results`. How it is
checked: `compare`, `verify`.
"""
