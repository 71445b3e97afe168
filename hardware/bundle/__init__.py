"""The lab submission: what travels (`pack`, `source`), how it runs there (`run`, `session`, `targets`, `board`), and how
it is checked (`compare`, `verify`)."""
